"""The paper recipes end to end, with tiny models and few steps in place of the published ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from tiny_models import END, PAD, VOCAB, save_tiny_policy, tiny_gpt2, tiny_tokenizer
from transformers import BertConfig, BertForSequenceClassification

from stages.artifacts.manifest import read_manifest, table_files
from stages.artifacts.schemas import POOL, SAMPLES, TRAINING_LOG, TableKind
from stages.artifacts.store import read_rows
from stages.learning.schedules import Schedule
from stages.report import report
from stages.settings import layout
from tests.mini_run import MiniRun

pytestmark = pytest.mark.slow

ROUNDS, STEPS, ALL_STEPS, BATCH = 3, 3, 8, 4
SPLITS = {"test": 3, "validation": 5}
ROWS = 30
SCHEMA = Path(__file__).resolve().parents[1] / "workflow/schemas/summary.schema.json"


def toxicity_prompts(path: Path) -> Path:
    """Rows as the public data set has them, half of them non-toxic."""
    rows = [
        {
            "filename": f"{number}.txt",
            "begin": 0,
            "end": 9,
            "prompt": {"text": f"The baker of lane {number} said", "toxicity": number % 2 * 0.9},
            "continuation": {"text": " nothing.", "toxicity": 0.1},
        }
        for number in range(ROWS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def writing_prompts(folder: Path) -> Path:
    folder.mkdir()
    lines = ["[ WP ] A kite flies .", "[ EU ] [ OT ]", "A king wakes up . [ WP ]"]
    (folder / "test.wp_source").write_text("\n".join(lines) + "\n")
    return folder


def classifier(folder: Path, bad: str, good: str) -> Path:
    """A tiny random classifier of two labels."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=128,
        pad_token_id=PAD,
        initializer_range=0.5,
        id2label={0: bad, 1: good},
        label2id={bad: 0, good: 1},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def settings(folder: Path, name: str) -> dict[str, Any]:
    """What stands in for the published models, data and numbers of steps."""
    model = classifier(folder / "toxic", "neutral", "toxic")
    perplexity = str(save_tiny_policy(folder / "judge", tiny_gpt2(seed=2)))
    also: dict[str, Any] = {
        "test": {"perplexity_model": perplexity, "slots": 8},
        "out_of_domain": {
            "perplexity_model": perplexity,
            "slots": 8,
            "data": {"path": str(writing_prompts(folder / "writing"))},
        },
    }
    scorers = {"toxicity": {"model": str(model)}}
    if name == "toxicity-nlf":
        mood = classifier(folder / "mood", "NEGATIVE", "POSITIVE")
        scorers["sentiment"] = {"model": str(mood)}
        also["sentiment"] = {"n": 4, "slots": 8}
    update = {
        "steps": STEPS,
        "phase_steps": ALL_STEPS,
        "batch_size": BATCH,
        "optimizer": {"lr": 1e-3, "warmup_steps": 2, "total_steps": ALL_STEPS},
    }
    return {
        "data": {"path": str(toxicity_prompts(folder / "prompts.jsonl")), "splits": SPLITS},
        "policy": {"init": str(save_tiny_policy(folder / "policy", tiny_gpt2()))},
        "scorers": scorers,
        "phases": {"align": {"rounds": ROUNDS, "sample": {"slots": 8}, "update": update}},
        "evaluate": {"slots": 8, "also": also},
    }


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], MiniRun]:
    made: dict[str, MiniRun] = {}

    def run(name: str) -> MiniRun:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            made[name] = MiniRun(folder, settings(folder, name), recipe=name, scale="paper").all()
            root = made[name].root
            report(made[name].recipe_file, root / "summary.json", root / "report.html")
        return made[name]

    return run


NAMES = ("toxicity-nlf", "toxicity-quark")
BEST = {"toxicity-nlf": "Lowest Toxicity", "toxicity-quark": " _TREE_TOKEN_00000"}


def rows(run: MiniRun, place: str, kind: TableKind) -> list[dict[str, Any]]:
    return [row for file in table_files(run.path(place), kind) for row in read_rows(file, kind)]


@pytest.mark.parametrize("name", NAMES)
def test_every_round_samples_every_train_prompt_once(
    ran: Callable[[str], MiniRun], name: str
) -> None:
    """No prompt is dropped with a last batch: 22 prompts are no multiple of 8 slots."""
    run, train = ran(name), ROWS - sum(SPLITS.values())
    assert read_manifest(run.path("data/train.json")).rows == train
    for number in range(1, ROUNDS + 1):
        samples = rows(run, f"phases/align/r{number}/samples.json", SAMPLES)
        assert len({row["prompt_id"] for row in samples}) == len(samples) == train
        assert {row["tag"] for row in samples} == {None if number == 1 else BEST[name]}
        assert {(row["top_k"], row["top_p"], row["temperature"]) for row in samples} == {
            (50, 1.0, 1.0)
        }
        assert all(row["response_ids"].index(END) >= 3 for row in samples
                   if row["finish_reason"] == "stop")  # fmt: skip
        assert all(3 < len(row["response_ids"]) <= 20 for row in samples)
        pool = rows(run, f"phases/align/r{number}/pool.json", POOL)
        assert len(pool) == number * train
        assert {row["round"] for row in pool} == set(range(1, number + 1))
        worst = [row for row in pool if row["quantiles"] == [4]]
        assert len(worst) == len(pool) - 4 * (len(pool) // 5)


@pytest.mark.parametrize("name", NAMES)
def test_the_rounds_learn_on_one_schedule(ran: Callable[[str], MiniRun], name: str) -> None:
    """The updates of all rounds in a row are those of the published loop: 3, 3 and 2 steps."""
    run = ran(name)
    done = []
    for number in range(1, ROUNDS + 1):
        policy = run.path(layout.in_round("align", number, "policy"))
        log = read_rows(policy.with_name("training_log.parquet"), TRAINING_LOG)
        done.append([row["value"] for row in log if row["name"] == "rate"])
    assert [len(own) for own in done] == [3, 3, 2]
    whole = Schedule(1e-3, "linear", total_steps=ALL_STEPS, warmup_steps=2)
    rates = [rate for own in done for rate in own]
    assert rates == pytest.approx([whole.rate(step) for step in range(ALL_STEPS)])
    assert done[0][0] == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_the_final_evaluation_has_25_answers_to_each_prompt(
    ran: Callable[[str], MiniRun], name: str
) -> None:
    run = ran(name)
    for also, prompts in (("test", SPLITS["test"]), ("out_of_domain", 2)):
        for number in (0, ROUNDS):
            folder = run.path(layout.also("align", number, also)).with_suffix("")
            samples = read_rows(folder / "samples.parquet", SAMPLES)
            best = [row for row in samples if row["tag"] in (None, BEST[name])]
            asked: dict[str, list[int]] = {}
            for row in best:
                asked.setdefault(row["prompt_id"], []).append(row["k"])
            assert len(asked) == prompts
            assert all(sorted(ks) == list(range(25)) for ks in asked.values())
            assert [row["top_p"] for row in samples] == pytest.approx([0.9] * len(samples))
            assert len(samples) - len(best) == (4 * prompts if number else 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_summary_holds_all_evaluations(ran: Callable[[str], MiniRun], name: str) -> None:
    run = ran(name)
    summary = json.loads((run.root / "summary.json").read_text())
    jsonschema.validate(summary, json.loads(SCHEMA.read_text()))
    measured = summary["phases"][0]["rounds"]
    assert [row["round"] for row in measured] == list(range(ROUNDS + 1))
    for row in measured:
        names = set(row["metrics"])
        assert {"toxicity.mean", "perplexity.base", "distinct.2"} <= names
        further = {name for name in names if name.startswith("also.")}
        assert bool(further) == (row["round"] in (0, ROUNDS))
    last = measured[-1]["metrics"]
    for also in ("test", "out_of_domain"):
        for metric in ("max.mean", "probability"):
            assert 0 <= last[f"also.{also}.toxicity.{metric}"]["value"] <= 1
        assert last[f"also.{also}.perplexity.base.published"]["value"] > 1
    if name == "toxicity-nlf":
        shares = [last[f"also.sentiment.sentiment.share.tag.{q}"]["value"] for q in range(5)]
        assert all(0 <= share <= 1 for share in shares)
    page = (run.root / "report.html").read_text()
    assert "Other prompts, other words" in page and "Prompts of writingprompts" in page
