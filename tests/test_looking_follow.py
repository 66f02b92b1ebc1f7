"""One prompt through the rounds, and pages turned by hand."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from looking import on_a_terminal, refused, shown
from rich.console import Console
from traced_run import TracedRun

from stages.contract.run_graph import run_graph
from stages.runtime.errors import UserError
from workflow.looking.browse import Wish
from workflow.looking.follow import find_prompt, follow
from workflow.looking.page import Lookout, Query
from workflow.looking.pager import Pager
from workflow.looking.place import find_place
from workflow.looking.views import view_of

R2 = "phases/align/r2"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> TracedRun:
    return TracedRun(tmp_path_factory.mktemp("traced") / "results", rounds=2).make()


def prompts(run: TracedRun, table: str) -> pd.DataFrame:
    return pd.read_parquet(run.root / "data" / f"{table}.parquet")


def test_a_prompt_is_found_by_id_by_text_and_by_words(run: TracedRun) -> None:
    graph = run_graph(run.root)
    row = prompts(run, "train").iloc[3]
    for wanted in (row["prompt_id"], row["text"], "(TRAIN 3)"):
        found = find_prompt(graph, wanted)
        assert (found.prompt_id, found.table) == (row["prompt_id"], "data/train.json")
    with pytest.raises(UserError, match=r"2 prompts hold these words"):
        find_prompt(graph, "n 1)") if False else find_prompt(graph, " 3)")
    with pytest.raises(UserError, match="no such prompt"):
        find_prompt(graph, "nowhere")


def test_every_answer_to_a_training_prompt_is_there(run: TracedRun) -> None:
    graph = run_graph(run.root)
    prompt = find_prompt(graph, "(train 5)")
    found = follow(graph, prompt)
    assert [(row["round"], row["k"]) for row in found.rows] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert {row["source"] for row in found.rows} == {"training"}
    for number in (1, 2):
        folder = run.root / f"phases/align/r{number}"
        samples = pd.concat(map(pd.read_parquet, sorted(folder.glob("samples/*.parquet"))))
        scores = pd.concat(map(pd.read_parquet, sorted(folder.glob("scores/*.parquet"))))
        own = samples[samples["prompt_id"] == prompt.prompt_id].merge(scores, on="sample_id")
        rows = [row for row in found.rows if row["round"] == number]
        assert [row["response"] for row in rows] == own["response"].tolist()
        assert [row["toxicity"] for row in rows] == own["value"].tolist()
        assert all(row["label"] in run.tags for row in rows)


def test_a_test_prompt_is_followed_through_evaluations_under_every_tag(run: TracedRun) -> None:
    found = follow(run_graph(run.root), find_prompt(run_graph(run.root), "(test 2)"))
    assert {row["source"] for row in found.rows} == {"evaluation"}
    places = [(row["round"], row["quantiles"], row["k"]) for row in found.rows]
    expected = [(0, [], k) for k in (0, 1)]
    expected += [(number, [q], k) for number in (1, 2) for q in (0, 1, 2) for k in (0, 1)]
    assert places == expected
    assert list(found.scores) == ["toxicity", "truth"]
    assert all(row["truth"] is not None for row in found.rows)


def test_texts_stand_side_by_side(run: TracedRun) -> None:
    text = shown("browse", run.root, "--prompt", "(test 2)", width=160)
    lines = text.splitlines()
    assert lines[0] == "“Our neighbour (test 2)”"
    head = next(line for line in lines if line.startswith("round 0"))
    assert head.split("round ")[1:] == ["0".ljust(53), "1".ljust(53), "2"] or "round 2" in head
    assert "evaluation on no tag or “Lowest Toxicity”" in text
    assert "evaluation on “Maximum Toxicity”" in text
    assert "by round" in text
    assert "✂ ended by the limit of tokens" in text


def test_rounds_that_find_no_room_are_named(run: TracedRun) -> None:
    text = shown("browse", run.root, "--prompt", "(test 2)", width=60)
    assert "rounds 1 are not shown" in text or "round 1 " not in text
    text = shown("browse", run.root, "--prompt", "(test 2)", "--rounds", "1,2", width=160)
    assert "\nround 0" not in text
    assert "rounds 0 are not shown: --rounds chooses" in text


def test_answers_come_as_rows_too(run: TracedRun) -> None:
    words = ("browse", run.root / R2, "--prompt", "(train 5)", "--format", "json")
    rows = [json.loads(line) for line in shown(*words).splitlines()]
    assert [(row["round"], row["k"]) for row in rows] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert set(rows[0]) >= {"response", "toxicity", "tag", "label", "drawn", "sample_id"}
    assert "no answer to it in round 9" in refused(*words, "--rounds", "1,9")
    (header, *lines) = shown(*words[:-1], "csv", "--rounds", "2").splitlines()
    assert header.startswith("phase,round,source,tag,k,response")
    assert len(lines) == 2


def test_a_prompt_needs_a_run(run: TracedRun, tmp_path: Path) -> None:
    prompts(run, "train").to_parquet(tmp_path / "a.parquet")
    assert "belongs to no run" in refused("browse", tmp_path / "a.parquet", "--prompt", "x")


# Pages


class Scripted:
    """A person who types some lines and then goes."""

    def __init__(self, *lines: str) -> None:
        self.lines: Iterator[str] = iter(lines)

    def __call__(self, _: str) -> str:
        try:
            return next(self.lines)
        except StopIteration:
            raise EOFError from None


def turned(run: TracedRun, *typed: str, height: int = 30, where: tuple[str, ...] = ()) -> str:
    """What a person sees who types some lines."""
    out = io.StringIO()
    console = Console(file=out, width=140, height=height, markup=False, highlight=False)
    place = find_place(run.root / R2)
    view = view_of(place)
    with Lookout(view) as lookout:
        wish = Wish(run.root / R2, Query(where))
        Pager(place, view, lookout, wish, console, Scripted(*typed)).run()
    return out.getvalue()


def pages(text: str) -> list[str]:
    return [line.split(" · ")[0] for line in text.splitlines() if line.startswith("rows ")]


def test_pages_fit_the_screen_and_are_turned_both_ways(run: TracedRun) -> None:
    assert pages(turned(run, "", "", "b", "q", "")) == [
        "rows 1–7 of 24",
        "rows 8–14 of 24",
        "rows 15–21 of 24",
        "rows 8–14 of 24",
    ]
    text = turned(run, "g 22", "", "b")
    assert pages(text) == ["rows 1–7 of 24", "rows 22–24 of 24", "rows 15–21 of 24"]
    assert "there are no more rows" in text


def test_filter_sort_and_columns_can_be_changed_on_the_way(run: TracedRun) -> None:
    text = turned(run, "/k = 0", "s toxicity desc", "c k,toxicity", "c", "/")
    assert pages(text) == ["rows 1–7 of 24", *["rows 1–7 of 12 that match, of 24"] * 4,
                           "rows 1–7 of 24"]  # fmt: skip
    heads = [line.split() for line in text.splitlines() if "toxicity" in line and "●" not in line]
    assert ["k", "toxicity"] in heads
    assert pages(turned(run, "/", where=("k = 0",))) == ["rows 1–7 of 12 that match, of 24"] * 2


def test_a_mistake_on_the_way_changes_nothing(run: TracedRun) -> None:
    text = turned(run, "/toxicty > 1", "s nothing", "99", "f 0", "")
    assert "no column 'toxicty'" in text
    assert "no column 'nothing'" in text
    assert text.count("no row") == 2
    assert pages(text) == ["rows 1–7 of 24", "rows 8–14 of 24"]


def test_a_row_is_opened_and_its_prompt_followed(run: TracedRun) -> None:
    text = turned(run, "3", "f 3", "d", "?")
    samples = pd.read_parquet(run.root / R2 / "samples" / "part-0-of-2.parquet")
    assert f"sample_id           {samples['sample_id'][2]}" in text
    assert "training on no tag or “Lowest Toxicity”" in text
    assert "scores by sample_id" in text
    assert "leave" in text


def test_a_terminal_turns_pages(run: TracedRun) -> None:
    text = on_a_terminal("browse", run.root / R2, typed="\n/k = 0\nq\n")
    assert "of 24" in text
    assert "of 12 that match" in text
    assert "Traceback" not in text
