"""report.html: one file, nothing fetched, nothing runs, whatever the model wrote."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fake_run import FakeRun

from stages.reporting.cautions import cautions
from stages.reporting.collect import collect
from stages.reporting.page import TEMPLATES, render

HOSTILE = (
    "<script>document.title='owned'</script>",
    "</style><style>body{display:none}</style>",
    '" onload="alert(1)" style="background:url(https://evil.example/x)',
    "'><img src=x onerror=alert(1)><a href='javascript:alert(1)'>click</a>",
    "</bdi></p></article></main><iframe src=https://evil.example></iframe>",
    "{{ 7 * 7 }} {% include 'x' %} $\\frac{1}{2}$ <!-- ]]> -->",
    "\x1b[31mred\x1b[0m \x07 \x00 null \x9b2J",
    "abc\u202egnp.exe\u2066 \u200f עברית",
    "emoji 👩\u200d👩\u200d👧 🎉 and [link](javascript:alert(1))",
    "x" * 1_000_000,
    "line\n" * 5_000,
    "o" + "\u0335" * 10_000,
)


def words(text: str) -> set[str]:
    return set(text.split())


ELEMENTS = words(
    "html head meta title style body header main footer nav section article figure figcaption "
    "details summary div p h1 h2 h3 b span small i bdi a ul ol li dl dt dd table thead tbody tr "
    "th td pre code svg g path rect use text defs clippath"
)
ATTRIBUTES = words(
    "lang charset http-equiv content name class id href style title scope role aria-label d x y "
    "width height viewbox version transform clip-path stroke-linejoin"
)


@dataclass
class Page(HTMLParser):
    """What a browser would see: elements, attributes, texts, style sheets."""

    elements: set[str] = field(default_factory=set)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    styles: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        (self.styles if self.cdata_elem == "style" else self.texts).append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def parse(html: str) -> Page:
    page = Page()
    page.feed(html)
    page.close()
    return page


def html_of(folder: Path, **options: object) -> str:
    run = collect(FakeRun(folder, prompts=16, answers=2, **options).write())  # type: ignore[arg-type]
    return render(run, cautions(run))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page whose answers, prompts, tags and description are all hostile."""
    tags = [f"{text[:60]} {i}" for i, text in enumerate(HOSTILE[:5])]
    return html_of(
        tmp_path_factory.mktemp("hostile"),
        texts=HOSTILE,
        prompt_texts=HOSTILE,
        tags=tags,
        changes={"description": HOSTILE[0], "phases": {"align": {"rounds": 3}}},
    )


def assert_inert(page: Page) -> None:
    assert page.elements <= ELEMENTS, page.elements - ELEMENTS
    names = {name for _, name, _ in page.attributes}
    assert names <= ATTRIBUTES, names - ATTRIBUTES
    ids = {value for _, name, value in page.attributes if name == "id"}
    assert len(ids) == sum(name == "id" for _, name, _ in page.attributes)
    for tag, name, value in page.attributes:
        if name == "href":
            assert value.startswith("#") and value[1:] in ids, (tag, value)
        if name in ("style", "clip-path"):
            assert "url(" not in value or re.fullmatch(r"url\(#[\w-]+\)", value), value
            assert not re.search(r"expression|@import|javascript", value)
    assert "".join(page.styles).strip() == (TEMPLATES / "style.css").read_text("utf-8").strip()
    assert not page.comments


def test_hostile_text_brings_no_element_attribute_or_address(hostile: str) -> None:
    page = parse(hostile)
    assert_inert(page)
    shown = "".join(page.texts)
    for text in ("<script>document.title='owned'</script>", "<img src=x onerror=alert(1)>",
                 '" onload="alert(1)"', "{{ 7 * 7 }}", "␛[31mred␛[0m ␇ ␀ null ⟨U+009B⟩2J",
                 "abc⟨U+202E⟩gnp.exe⟨U+2066⟩ ⟨U+200F⟩ עברית", "👩\u200d👩\u200d👧"):  # fmt: skip
        assert text in shown, text


def test_hostile_text_does_not_flood(hostile: str) -> None:
    assert len(hostile) < 1_500_000
    assert "x" * 1_201 not in hostile
    assert "more characters]" in hostile and "more lines]" in hostile
    assert "\u0335" * 5 not in hostile
    left = {c for c in hostile if ord(c) < 32 and c not in "\n\t"}
    assert not left and not set("\u202e\u2066\u200f\x9b") & set(hostile)


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> str:
    return html_of(tmp_path_factory.mktemp("harmless"))


def test_a_harmless_page_is_whole_and_fetches_nothing(harmless: str) -> None:
    html, page = harmless, parse(harmless)
    assert_inert(page)
    assert not re.search(r"https?:|//[a-z]", html.replace(" // ", ""))
    policy = next(v for t, n, v in page.attributes if t == "meta" and "default-src" in v)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert "script" not in policy and "img" not in policy
    text = "".join(page.texts)
    for title in ("Toxicity by round", "Mean score on each tag", "Scores of the training answers",
                  "Where the quantiles are cut", "What the pool holds", "One prompt on every tag",
                  "How it learns", "Step by step", "KL by round", "Entropy by round", "Agreement",
                  "What is learnt most", "Best and worst to learn from",
                  "How good the scorers are", "Time, memory, tokens",
                  "Settings", "Where it all came from", "best answer of round 3",
                  "Lowest Toxicity", "10 held-out prompts"):  # fmt: skip
        assert title in text, title
    assert html.count("<svg") >= 15
    assert not re.search(r"\bNaN\b|>None<|\bnan\b", html)


def test_every_section_can_be_jumped_to(harmless: str) -> None:
    page = parse(harmless)
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert links[0] == "#results" and links[-1] == "#glossary" and len(links) == len(set(links))


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    assert html_of(tmp_path / "one", rounds=1) == html_of(tmp_path / "two", rounds=1)


def test_a_stopped_phase_is_explained_and_its_rounds_left_out(tmp_path: Path) -> None:
    html = html_of(tmp_path, rounds=4, stopped_at=3)
    assert "round 2: perplexity.base 31.2 &gt; 28.4" in html
    assert ">Round 2<" in html and ">Round 3<" not in html


def test_many_rounds_still_fit(tmp_path: Path) -> None:
    html = html_of(tmp_path, rounds=8)
    assert ">Round 8<" in html and html.count('class="answer ') <= 12 * 4 + 3 * 5


@pytest.mark.parametrize(
    "options",
    [{"answers": 1}, {"judge": "toxicity"}, {"prompts": 2}, {"polish": True}, {"reward": True}],
)
def test_other_kinds_of_runs(tmp_path: Path, options: dict) -> None:
    run = collect(FakeRun(tmp_path, rounds=1, **({"prompts": 8, "answers": 2} | options)).write())
    page = parse(render(run, cautions(run)))
    assert_inert(page)
    titles = "results-polish" in {v for _, name, v in page.attributes if name == "id"}
    assert titles == ("polish" in options)


def command(folder: Path) -> Sequence[str]:
    return [sys.executable, "-m", "stages.report", "--recipe", str(folder / "recipe.yaml"),
            "--summary", str(folder / "summary.json"),
            "--report", str(folder / "report.html")]  # fmt: skip


def test_the_stage_writes_both_files_or_says_one_line(tmp_path: Path) -> None:
    FakeRun(tmp_path, rounds=1, prompts=4, answers=1).write()
    done = subprocess.run(command(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "summary.json").stat().st_size > 500
    assert (tmp_path / "report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    for name in ("summary.json", "report.html", "phases/align/r1/evaluation/metrics.parquet"):
        (tmp_path / name).unlink()
    failed = subprocess.run(command(tmp_path), capture_output=True, text=True, check=False)
    assert failed.returncode == 2 and not (tmp_path / "summary.json").exists()
    (line,) = failed.stderr.strip().splitlines()
    assert line.startswith("error: table not found") and "metrics.parquet" in line
