"""Tag transfer, other prompts, no tag: measured beside the rounds and shown, on a small run."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.artifacts.manifest import read_manifest, write_manifest
from stages.artifacts.schemas import METRICS, SAMPLES, SCORES
from stages.artifacts.store import read_rows
from stages.evaluate import evaluate
from stages.feedback.vocabulary import load_vocabulary
from stages.report import report
from stages.reporting.further import finding
from stages.reporting.run_data import Metric
from stages.settings import layout
from stages.world import World
from tests.mini_run import MiniRun
from tests.recipes import recipe

WORDS = load_vocabulary("moods", 3).words[0]
MOOD = {
    "tags": {"vocabulary": "moods", "quantiles": 3},
    "judge": "sentiment",
    "metrics": ["toxicity", "share", "distinct", "tag_control"],
    "n": 3,
}
SENTIMENT = {"kind": "world", "axis": "sentiment", "attribute": "sentiment", "better": "high"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MiniRun:
    folder = tmp_path_factory.mktemp("further")
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(f'{{"prompt": "[ WP ] Kite {i} ."}}\n' for i in range(11)))
    further = {
        "mood": MOOD,
        "turned": MOOD | {"tags": MOOD["tags"] | {"reverse": True}, "rounds": "last"},
        "untagged": {"tagged": False, "rounds": "all"},
        "worst": {"ask": {"toxicity": "worst"}, "metrics": ["toxicity", "share"]},
        "silent": {"ask": {"toxicity": "none"}, "rounds": "last"},
        "elsewhere": {
            "data": {"source": "writingprompts", "path": str(prompts)},
            "metrics": ["toxicity", "share", "distinct", "perplexity", "tag_control"],
        },
    }
    settings = {"scorers": {"sentiment": SENTIMENT}, "evaluate": {"also": further}}
    made = MiniRun(folder / "results", settings).all()
    report(made.recipe_file, made.root / "summary.json", made.root / "report.html")
    return made


def folder_of(run: MiniRun, number: int, name: str) -> Path:
    return run.path(layout.also("align", number, name)).with_suffix("")


def samples(run: MiniRun, number: int, name: str) -> list[dict[str, Any]]:
    return read_rows(folder_of(run, number, name) / "samples.parquet", SAMPLES)


def scores(run: MiniRun, number: int, name: str) -> list[dict[str, Any]]:
    return read_rows(folder_of(run, number, name) / "scores.parquet", SCORES)


def metrics(run: MiniRun, number: int, name: str) -> dict[str, float]:
    rows = read_rows(folder_of(run, number, name) / "metrics.parquet", METRICS)
    return {row["metric"]: row["value"] for row in rows}


def test_other_words_stand_where_the_tags_stand(run: MiniRun) -> None:
    from stages.models.load import load_tokenizer
    from stages.text.conditioning import QueryEncoder, TagTokens

    assert {row["tag"] for row in samples(run, 0, "mood")} == {None}
    last = samples(run, 2, "mood")
    assert {row["tag"] for row in last} == set(WORDS)
    encoder = QueryEncoder(load_tokenizer(run.path("phases/align/r2/policy")))
    texts = prompt_texts(run)
    for row in last:
        tag = TagTokens(words=row["tag"], separator="<|separator|>")
        assert tuple(row["query_ids"]) == encoder.query_ids(texts[row["prompt_id"]], tag)
    counts = {word: sum(row["tag"] == word for row in last) for word in WORDS}
    assert counts == dict(zip(WORDS, (12 * 3, 12, 12), strict=True))
    best = [row for row in samples(run, 2, "turned") if row["quantiles"] == [0]]
    assert {row["tag"] for row in best} == {WORDS[-1]}


def prompt_texts(run: MiniRun) -> dict[str, str]:
    from stages.artifacts.manifest import table_files
    from stages.artifacts.schemas import PROMPTS

    files = table_files(run.path("data/test.json"), PROMPTS)
    return {row["prompt_id"]: row["text"] for file in files for row in read_rows(file, PROMPTS)}


def test_another_tag_than_the_best_is_asked_for_and_measured(run: MiniRun) -> None:
    assert {row["tag"] for row in samples(run, 0, "worst")} == {None}
    worst = samples(run, 2, "worst")
    (tag,) = {row["tag"] for row in worst}
    assert tag == read_manifest(run.path("phases/align/r2/evaluation.json")).facts["tags"][2]
    assert {tuple(row["quantiles"]) for row in worst} == {(2,)}
    value = [row["value"] for row in scores(run, 2, "worst") if row["scorer"] == "truth"]
    known = [v for v in value if v is not None]
    assert metrics(run, 2, "worst")["toxicity.mean"] == pytest.approx(np.mean(known))
    silent = samples(run, 2, "silent")
    assert {(row["tag"], *row["quantiles"]) for row in silent} == {(None, -1)}
    assert "toxicity.mean" in metrics(run, 2, "silent")
    page = (run.root / "report.html").read_text(encoding="utf-8")
    assert "toxicity at its worst" in page and "toxicity not mentioned" in page


def test_shares_are_those_of_the_published_definition(run: MiniRun) -> None:
    """Counted by hand: of each prompt's answers those above one half, then over prompts."""
    value = {row["sample_id"]: row["value"] for row in scores(run, 2, "mood")}
    found = metrics(run, 2, "mood")
    for quantile, ending in [(0, ""), *((q, f".tag.{q}") for q in range(3))]:
        answers: dict[str, list[float]] = {}
        for row in samples(run, 2, "mood"):
            if row["quantiles"] == [quantile] and value[row["sample_id"]] is not None:
                answers.setdefault(row["prompt_id"], []).append(value[row["sample_id"]])
        shares = [np.mean([v > 0.5 for v in own]) for own in answers.values()]
        assert found[f"sentiment.share{ending}"] == pytest.approx(np.mean(shares))
        means = [v for own in answers.values() for v in own]
        assert found[f"sentiment.mean{ending}"] == pytest.approx(np.mean(means))


def test_the_judge_alone_scores_another_attribute(run: MiniRun) -> None:
    assert {row["scorer"] for row in scores(run, 2, "mood")} == {"sentiment"}
    assert {row["scorer"] for row in scores(run, 2, "elsewhere")} == {"truth", "toxicity"}
    assert "toxicity.mean.scorer" in metrics(run, 2, "elsewhere")
    assert not [name for name in metrics(run, 2, "mood") if name.startswith("toxicity")]


def test_no_prompt_is_lost_with_a_last_batch(run: MiniRun) -> None:
    """11 prompts: neither 8 slots nor chunks of 16 divide their 22 or 44 answers."""
    for number, each in ((0, 2), (2, 2 + 2)):
        asked: dict[str, int] = {}
        for row in samples(run, number, "elsewhere"):
            asked[row["prompt_id"]] = asked.get(row["prompt_id"], 0) + 1
        assert len(asked) == 11
        assert set(asked.values()) == {each}
    main = read_rows(run.path("phases/align/r2/evaluation/samples.parquet"), SAMPLES)
    best = [row for row in main if row["quantiles"] == [0]]
    assert len(best) == 12 * 2
    assert {row["k"] for row in best} == {0, 1}


def test_each_answer_has_an_id_of_its_own(run: MiniRun) -> None:
    ids: list[str] = []
    for path in run.root.glob("phases/align/r*/**/samples.parquet"):
        ids += [row["sample_id"] for row in read_rows(path, SAMPLES)]
    assert len(ids) == len(set(ids)) > 300


def test_without_a_tag(run: MiniRun) -> None:
    for number in (0, 1, 2):
        assert {row["tag"] for row in samples(run, number, "untagged")} == {None}
    assert "toxicity.mean.tag.0" not in metrics(run, 2, "untagged")


def test_a_phase_that_stopped_is_measured_at_its_end_once(run: MiniRun, tmp_path: Path) -> None:
    policy = read_manifest(run.path("phases/align/r2/policy.json"))
    stopped = run.path("phases/align/r2/stopped.json")
    write_manifest(stopped, dataclasses.replace(policy, stopped="enough"))
    try:
        for name, at_the_end in (("mood", True), ("untagged", False), (None, False)):
            out = run.path(f"phases/align/r2/stopped/{name}.json")
            evaluate(
                run.recipe_file,
                "align",
                2,
                stopped,
                run.path(layout.BASE),
                run.path(layout.BASE),
                run.path("data/test.json"),
                out,
                [Path(p) for p in run.plan.judges("align", name)],
                also=name,
            )
            made = read_manifest(out)
            assert (made.stopped is None) == at_the_end
            assert bool(made.files) == at_the_end
    finally:
        stopped.unlink()


def test_summary_and_report_show_them(run: MiniRun) -> None:
    rounds = json.loads((run.root / "summary.json").read_text())["phases"][0]["rounds"]
    for number, names in ((0, {"mood", "untagged", "worst", "elsewhere"}), (1, {"untagged"})):
        found = {m.split(".")[1] for m in rounds[number]["metrics"] if m.startswith("also.")}
        assert found == names
    last = rounds[2]["metrics"]
    assert last["also.mood.sentiment.share"]["value"] == metrics(run, 2, "mood")["sentiment.share"]
    for name in ("toxicity.mean", "perplexity.base", "distinct.2"):
        further, main = last[f"also.untagged.{name}"], last[name]
        assert further["value"] == metrics(run, 2, "untagged")[name]
        table = read_rows(run.path("phases/align/r2/evaluation/metrics.parquet"), METRICS)
        assert main["value"] == next(row["value"] for row in table if row["metric"] == name)
    page = (run.root / "report.html").read_text()
    section = page[page.index('<section id="further">') :]
    section = section[: section.index("</section>")]
    assert "which were never trained" in section and "Prompts of writingprompts" in section
    assert all(f"on “{words.strip()}”" in section for words in (WORDS[0], WORDS[-1]))
    assert "also/mood" in page


def test_the_worlds_other_words_are_of_its_comments_and_of_no_tag() -> None:
    said = {
        word.strip('.,;:!?"')
        for document in World.load().documents(seed=1, n=4000)
        for word in document.text.lower().split()
    }
    for quantiles in (2, 3):
        (words,) = load_vocabulary("moods", quantiles).words
        others = {word for tag in words for word in tag.split()}
        assert others <= said
        for tags in (3, 5):
            own = {
                word for tag in load_vocabulary("comments", tags).words[0] for word in tag.split()
            }
            assert not others & own


def metric(value: float) -> Metric:
    return Metric(value, value - 0.05, value + 0.05, 40)


@pytest.mark.parametrize(
    ("best", "worst", "reverse", "words"),
    [
        (0.8, 0.2, False, "The words steer sentiment as they say: sentiment.share is 80 % on"),
        (0.2, 0.8, False, "The words steer sentiment the wrong way"),
        (0.2, 0.8, True, "The words steer sentiment as they say"),
        (0.8, 0.2, True, "The words steer sentiment the wrong way"),
        (0.50, 0.45, False, "The words do not steer sentiment beyond the noise"),
    ],
)
def test_what_the_words_do_is_said_as_it_is(
    best: float, worst: float, reverse: bool, words: str
) -> None:
    tags = MOOD["tags"] | {"reverse": reverse}
    settings = {"scorers": {"sentiment": SENTIMENT}}
    settings["evaluate"] = {"also": {"mood": MOOD | {"tags": tags}, "plain": {}}}
    found = recipe(set=settings)
    last = {"sentiment.share": metric(best), "sentiment.share.tag.0": metric(best)}
    last["sentiment.share.tag.2"] = metric(worst)
    sentence = finding(found, "mood", {0: {"sentiment.share": metric(0.3)}, 3: last})
    assert sentence is not None and sentence.startswith(words)
    assert sentence.endswith("before the phase, without a tag, 30 %.")
    first, second = (WORDS[-1], WORDS[0]) if reverse else (WORDS[0], WORDS[-1])
    first, second = first.strip(), second.strip()
    assert f"on “{first}”" in sentence.split(",")[0] and f"on “{second}”" in sentence
    assert finding(found, "mood", {0: {}}) is None
    assert finding(found, "plain", {3: last}) is None
