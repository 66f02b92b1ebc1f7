"""Whatever a model wrote and whatever a file is called: nothing of it acts on a terminal."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from looking import SGR, on_a_terminal, rondo
from rich.cells import cell_len
from test_report_page import HOSTILE
from traced_run import TracedRun

from stages.runtime.inert import is_hidden

R1 = "phases/align/r1"
TEXTS = (
    *HOSTILE,
    "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "\x1b]0;owned\x07\x1b[2J\x1b[H\x1b[?1049h",
    "[bold red]markup[/bold red] [link=https://evil.example]x[/link] :bomb: [/]",
    "\rover\rwritten\x08\x08\x08",
    "=HYPERLINK(\"https://evil.example\")",
    "a\u202eb\u2066c\u200b\ufeff\u2028d\x85e\x9d",
    "界" * 300,
)  # fmt: skip
FOLDER = "re[bold]sults \x1b[31m'\u202e"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TracedRun:
    """Every answer and prompt is hostile, and so is the name of a folder above the run."""
    return TracedRun(
        tmp_path_factory.mktemp("hostile") / FOLDER,
        rounds=1,
        prompts=len(TEXTS),
        answers=1,
        shards=1,
        steps=2,
        text=lambda number, _: TEXTS[number % len(TEXTS)],
        prompt_texts=TEXTS,
    ).make()


def sample(run: TracedRun, text: str) -> str:
    table = pq.read_table(run.root / R1 / "samples" / "part-0-of-1.parquet").to_pylist()
    return next(row["sample_id"] for row in table if row["response"] == text)


def commands(run: TracedRun) -> dict[str, tuple[object, ...]]:
    samples, first = run.root / R1 / "samples.json", sample(run, TEXTS[13])
    prompts = pq.read_table(run.root / "data" / "test.parquet")["prompt_id"].to_pylist()
    return {
        "page": ("browse", samples, "--limit", 0),
        "lines": ("browse", samples, "--limit", 0, "--lines", 1),
        "text": ("browse", samples, "--format", "text", "--limit", 0),
        "csv": ("browse", samples, "--format", "csv", "--limit", 0),
        "json": ("browse", samples, "--format", "json", "--limit", 0),
        "row": ("browse", samples, "--id", first),
        "counts": ("browse", samples, "--count-by", "response"),
        "policy": ("browse", run.root / R1 / "policy.json", "--limit", 0),
        "evaluation": ("browse", run.root / R1 / "evaluation", "--limit", 0),
        "schema": ("browse", samples, "--schema"),
        "overview": ("browse", run.root),
        "follow": ("browse", run.root, "--prompt", prompts[13]),
        "compare": ("compare", run.root / "phases/align/r0", run.root / R1, "--movers", 20),
        "lineage": ("lineage", run.root / R1 / "policy.json"),
        "row lineage": ("lineage", samples, "--row", first),
        "json lineage": ("lineage", samples, "--row", first, "--format", "json"),
        "whole": ("lineage", run.root),
    }


NAMES = ("page", "lines", "text", "csv", "json", "row", "counts", "policy", "evaluation", "schema",
         "overview", "follow", "compare", "lineage", "row lineage", "json lineage",
         "whole")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_no_hidden_character_is_written(run: TracedRun, name: str) -> None:
    code, out, err = rondo(*commands(run)[name])
    assert (code, err) == (0, "")
    assert {f"U+{ord(c):04X}" for c in out if c != "\n" and is_hidden(c)} == set()
    assert len(out) > 100


@pytest.mark.parametrize("name", ["page", "follow", "compare", "row lineage"])
def test_a_terminal_gets_colours_and_nothing_else(run: TracedRun, name: str) -> None:
    words = commands(run)[name]
    more = ("--no-pages",) if words[0] == "browse" else ()
    text = on_a_terminal(*words, *more)
    assert SGR.search(text)
    rest = SGR.sub("", text).replace("\r\n", "\n")
    if name == "row lineage":  # its progress bar hides and shows the cursor and is wiped out
        for own in ("\x1b[?25l", "\x1b[?25h", "\r", "\x1b[2K", "\x1b[1A"):
            rest = rest.replace(own, "")
    assert {f"U+{ord(c):04X}" for c in rest if c != "\n" and is_hidden(c)} == set()
    assert "]8;;" not in text.replace("␛]8;;", "")


def test_markup_stays_what_it_is(run: TracedRun) -> None:
    _, out, _ = rondo("browse", run.root / R1 / "samples.json", "--format", "text", "--limit", 0)
    assert "[bold red]markup[/bold red] [link=https://evil.example]x[/link] :bomb: [/]" in out
    assert "␛]8;;https://evil.example␛\\click␛]8;;␛\\" in out
    assert "re[bold]sults ␛[31m'⟨U+202E⟩" in rondo("browse", run.root)[1]


def test_a_flood_is_cut_and_its_length_told(run: TracedRun) -> None:
    words = ("browse", run.root / R1 / "samples.json", "--limit", 0)
    _, out, _ = rondo(*words)
    assert "… +999," in out
    assert max(map(cell_len, out.splitlines()[2:])) <= 140
    assert len(out) < 60_000
    _, out, _ = rondo(*words, "--format", "text")
    assert "[980,000 more characters]" in out
    assert len(out) < 200_000
    _, out, _ = rondo("lineage", words[1], "--row", sample(run, "x" * 1_000_000))
    assert "more characters]" in out
    assert len(out) < 20_000


def test_json_loses_nothing_and_csv_shows_what_it_hides(run: TracedRun) -> None:
    words = ("browse", run.root / R1 / "samples.json", "--columns", "response,prompt",
             "--limit", 0)  # fmt: skip
    _, out, _ = rondo(*words, "--format", "json")
    found = [json.loads(line) for line in out.splitlines()]
    assert {row["response"] for row in found} == set(TEXTS)
    assert {row["prompt"] for row in found} == set(TEXTS)
    _, out, _ = rondo(*words, "--format", "csv")
    csv.field_size_limit(sys.maxsize)
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert len(rows) == len(TEXTS)
    assert "␛]8;;https://evil.example␛\\click␛]8;;␛\\" in {row["response"] for row in rows}
    assert "x" * 1_000_000 in {row["response"] for row in rows}


@pytest.mark.parametrize(
    "words",
    [
        ("browse", "\x1b[31mnothing\u202e"),
        ("lineage", "\x1b[31mnothing\u202e"),
        ("compare", "\x1b[31mnothing\u202e", "x"),
        ("browse", "--\x1b[31m\u202e"),
        ("\x1b[31m\u202e",),
        ("plan", "--recipe", "\x1b[31m\u202e"),
    ],
)
def test_complaints_are_harmless(words: tuple[str, ...]) -> None:
    code, out, err = rondo(*words)
    assert (code, out) == (2, "")
    assert "[31m" in err
    assert not [c for c in err if c != "\n" and is_hidden(c)]


def test_filters_may_hold_anything(run: TracedRun, tmp_path: Path) -> None:
    words = ("browse", run.root / R1, "--where", "response = '\x1b[31m\u202e")
    code, _, err = rondo(*words)
    assert code == 2
    assert not [c for c in err if c != "\n" and is_hidden(c)]
