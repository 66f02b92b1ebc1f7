"""Reward models of answers through the stage: from tables to a model, its measure and its scores.

The data is made so that a tiny encoder can learn it: answers that speak of the river are wrong.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lfqa_ground import Row, Tables, error, feedback_row, pair_folder

import stages.updating.answer_models as answer_models
from stages.artifacts.manifest import Manifest, read_manifest, table_readers
from stages.artifacts.schemas import TRAINING_LOG
from stages.artifacts.store import read_rows, write_table
from stages.contract.policies import KIND as POLICY
from stages.learning.trainer import Trainer
from stages.rewards.build import build_scorer
from stages.rewards.preference import read_preference
from stages.rewards.protocol import Scorable
from stages.runtime.errors import Preempted, UserError
from stages.runtime.hashing import folder_digest
from stages.settings import layout
from stages.tasks.feedback_tables import read_feedback
from stages.train_reward_model import train_reward_model
from stages.updating.answer_updaters import (
    ComparedReadings,
    ComparisonUpdater,
    LabelledReading,
    SegmentUpdater,
)
from stages.updating.reward_rows import set_apart
from tests.test_rewards_answers import ASKED, TEXTS, net, preference, spans

SMALL = " ".join(
    f"reward_models.{name}.{key}"
    for name in ("relevance", "factuality", "completeness", "preference")
    for key in (
        "base_model.config.d_model=32",
        "base_model.config.d_kv=8",
        "base_model.config.d_ff=64",
        "base_model.config.num_layers=1",
        "base_model.vocabulary=400",
        "steps=80",
        "batch_size=8",
        "dropout=false",
        "select=null",
        "optimizer.lr=3e-3",
        "optimizer.warmup_steps=5",
    )
)
RIGHT, WRONG = (
    "The mill was built by Ann of the town.",
    "The river is long and it is cold for most of the year.",
)


def rows(count: int = 60) -> list[Row]:
    """Questions; answer 1 has a right and a wrong sentence in either order, or one of them."""
    found = []
    for number in range(count):
        right, wrong = f"{RIGHT[:-1]} in {1800 + number}.", WRONG
        sides = [[right, wrong], [wrong, right], [right], [wrong]][number % 4]
        text = " ".join(sides)
        start = text.find(wrong)
        found.append(
            feedback_row(
                f"Who built mill number {number}?",
                **{
                    "prediction 1": text,
                    "prediction 2": right,
                    "prediction 3": wrong,
                    "prediction 4": f"{right} {right}",
                    "errors": [error(start, start + len(wrong))] if wrong in sides else [],
                    "preference": [0, 0, 0, 1, 0, 2],
                },
            )
        )
    return found


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    folder = tmp_path_factory.mktemp("reward_models")
    return Tables(folder / "run", pair_folder(folder / "qa", rows()), SMALL)


def train(tables: Tables, name: str, folder: str = "") -> Manifest:
    """Make the tables of a reward model and train it, as the DAG does, in this process."""
    root = tables.folder
    tables.made("feedback")
    given: dict[str, Path] = {"feedback": root / layout.data("feedback")}
    if tables.recipe.reward_models[name].kind == "span":
        tables.made(f"labels.{name}")
        given["labels"] = root / layout.data(f"labels.{name}")
    else:
        tables.comparisons(name)
        given["comparisons"] = root / layout.comparisons(name)
    out = root / (folder or "reward_models") / name / "model.json"
    train_reward_model(tables.recipe_file, name, out, **given)
    return read_manifest(out)


def scorables(tables: Tables, held_out: bool) -> list[tuple[Row, Scorable]]:
    found = []
    for row in tables.rows("feedback"):
        if row["held_out"] == held_out:
            parts = read_feedback(row).parts
            found.append((row, Scorable(row["feedback_id"], "", row["answers"][0], parts)))
    return found


def test_a_span_model_learns_what_was_marked(tables: Tables) -> None:
    made = train(tables, "relevance")
    found = made.facts["metrics"]
    assert found["accuracy"] == 1 > max(found["accuracy.all_error"], found["accuracy.all_no_error"])
    assert found["auc"] == 1 and found["error.f1"] == 1
    assert sum(row["count"] for row in made.facts["calibration"]) == found["segments"]
    assert made.counters["examples"] == len(scorables(tables, held_out=False))
    scorer = build_scorer(
        tables.recipe.reward_models["relevance"],
        tables.folder / "reward_models/relevance/model",
        "fp32",
    )
    pairs = scorables(tables, held_out=True)
    assert len(pairs) > 2
    for (row, asked), score in zip(pairs, scorer.score([r for _, r in pairs]), strict=True):
        for span in score.spans:
            wrong = asked.response[span.start : span.end] == WRONG
            assert span.value == (-0.3 if wrong else 0.3), row
        values = [span.value for span in score.spans]
        assert score.value == pytest.approx(sum(values) / len(values))
    config = json.loads((tables.folder / "reward_models/relevance/model/config.json").read_text())
    assert config["id2label"] == {"0": "NF-ERR", "1": "O"}


def test_a_preference_model_learns_what_is_better(tables: Tables) -> None:
    made = train(tables, "preference")
    found = made.facts["metrics"]
    assert (
        found["accuracy"]
        == 1
        > max(found[f"accuracy.{name}"] for name in ("always_first", "always_second", "longer"))
    )
    folder = tables.folder / "reward_models/preference/model"
    model, training = read_preference(folder, 4096, "fp32", torch.device("cpu"))
    once = {
        (parts, answer)
        for row in tables.rows("feedback")
        if not row["held_out"]
        for parts in [read_feedback(row).parts]
        for answer in row["answers"][1:]  # the first stands in no pair
    }
    values = model.values(sorted(once, key=str))
    assert (training.answers, training.mean) == (len(once), pytest.approx(values.mean()))
    assert training.deviation == pytest.approx(values.std())
    scorer = build_scorer(tables.recipe.reward_models["preference"], folder, "fp32")
    normal = [
        score.value
        for score in scorer.score([Scorable("s", "", text, asked) for asked, text in once])
    ]
    assert np.mean(normal) == pytest.approx(0, abs=1e-5)
    assert np.std(normal) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", ["relevance", "preference"])
def test_a_killed_training_gives_the_same_model_to_the_byte(
    name: str, tables: Tables, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With weights that are chosen on the way: the best ones go into the checkpoint."""
    change = f"reward_models.{name}.steps=14 reward_models.{name}.checkpoint_every=5"
    change += f" reward_models.{name}.select.every=3 reward_models.{name}.select.share=0.3"
    change += f" reward_models.{name}.select.by=loss reward_models.{name}.dropout=true"
    data = pair_folder(tmp_path / "qa", rows(20))
    runs = [Tables(tmp_path / run, data, f"{SMALL} {change}") for run in ("one", "two")]
    whole = train(runs[0], name)
    asked = iter([False] * 11 + [True])
    monkeypatch.setattr(answer_models, "stop_requested", lambda: next(asked))
    with pytest.raises(Preempted, match="after step 11 and saved"):
        train(runs[1], name)
    assert not (runs[1].folder / f"reward_models/{name}/model.json").exists()
    monkeypatch.setattr(answer_models, "stop_requested", lambda: False)
    steps = count_steps(monkeypatch)
    again = train(runs[1], name)
    assert len(steps) == 3
    assert again.digest == whole.digest and again.facts == whole.facts
    assert whole.facts["kept_step"] in (3, 6, 9, 12)
    places = [run.folder / f"reward_models/{name}/model.json" for run in runs]
    logs = [read_rows(place.parent / "training_log.parquet", TRAINING_LOG) for place in places]
    assert logs[0] == logs[1]
    # A third call finds it done.
    assert train(runs[1], name).digest == whole.digest and len(steps) == 3


def count_steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    taken: list[int] = []
    step = Trainer._take_step

    def counted(self: Trainer) -> None:
        taken.append(self.step)
        step(self)

    monkeypatch.setattr(Trainer, "_take_step", counted)
    return taken


def test_questions_that_choose_the_weights_are_not_learnt(tmp_path: Path) -> None:
    name = "reward_models.relevance"
    change = f"{name}.steps=1 {name}.select.every=1 {name}.select.share=0.4 {name}.select.by=loss"
    data = pair_folder(tmp_path / "qa", rows())
    tables = Tables(tmp_path / "run", data, f"{SMALL} {change}")
    made = train(tables, "relevance")
    learn = [row for row, _ in scorables(tables, held_out=False)]

    class Named:
        def __init__(self, row: Row) -> None:
            self.question = row["feedback_id"]

    apart = sum(set_apart(Named(row), 0.4) for row in learn)  # type: ignore[arg-type]
    assert 0 < apart < len(learn)
    assert made.counters["examples"] == len(learn) - apart


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("relevance", {}),
        ("relevance", {"surprise": "true"}),
        ("preference", {"pool": "auto"}),
        ("preference", {"pool": "segments", "surprise": "true"}),
    ],
)
def test_both_stacks_of_an_encoder_decoder_learn(
    name: str, more: dict[str, str], tmp_path: Path
) -> None:
    """The decoder reads the answer; what it learnt is read again from its folder."""
    changes = {"stacks": "both"} | more
    both = " ".join(f"reward_models.{name}.{key}={value}" for key, value in changes.items())
    tables = Tables(tmp_path / "run", pair_folder(tmp_path / "qa", rows()), f"{SMALL} {both}")
    made = train(tables, name)
    assert made.facts["metrics"]["accuracy"] == 1
    folder = tables.folder / f"reward_models/{name}/model"
    shape = json.loads((folder / "head.json").read_text())
    assert shape["both"] and shape["surprise"] is ("surprise" in more)
    assert (shape["pool"] == "segments") is (more.get("pool") == "segments")
    scorer = build_scorer(tables.recipe.reward_models[name], folder, "fp32")
    asked = scorables(tables, held_out=True)[0][1].asked
    right, wrong = scorer.score([Scorable(t, "", t, asked) for t in (RIGHT, WRONG)])
    assert right.value is not None and wrong.value is not None and right.value > wrong.value


def test_a_model_starts_from_the_policy(tables: Tables, tmp_path: Path) -> None:
    """A decoder, whose marks stand behind the segments."""
    from tiny_models import save_tiny_policy, tiny_llama

    name = "reward_models.relevance"
    change = f"{name}.base=policy {name}.base_model=null {name}.steps=2"
    data = pair_folder(tmp_path / "qa", rows())
    run = Tables(tmp_path / "run", data, f"{SMALL} {change}")
    save_tiny_policy(run.folder / "base/policy", tiny_llama())
    policy = write_policy_manifest(run)
    for table in ("feedback", "labels.relevance"):
        run.made(table)
    out = run.folder / layout.reward_model("relevance")
    given = {k: run.folder / layout.data(k) for k in ("feedback",)}
    labels = run.folder / layout.data("labels.relevance")
    train_reward_model(run.recipe_file, "relevance", out, labels=labels, policy=policy, **given)
    config = json.loads((out.parent / "model/config.json").read_text())
    assert config["model_type"] == "llama" and config["id2label"]["0"] == "NF-ERR"
    with pytest.raises(UserError, match="no policy was given"):
        train_reward_model(
            run.recipe_file, "relevance", out.with_name("other.json"), labels=labels, **given
        )


def write_policy_manifest(run: Tables) -> Path:
    from stages.artifacts.manifest import write_manifest

    lineage = run.made("feedback").lineage
    place = run.folder / layout.BASE
    facts = {"folder": "base/policy", "external": False}
    digest = folder_digest(run.folder / "base/policy")
    write_manifest(place, Manifest(POLICY, digest, (), lineage, 0, {}, facts))
    return place


# Bad input


def damaged(tables: Tables, name: str, change: Any) -> Path:
    """A copy of a table of one reward model with changed rows, and its manifest."""
    kind = "labels" if tables.recipe.reward_models[name].kind == "span" else "comparisons"
    if kind == "labels":
        tables.made(f"labels.{name}")
        place = tables.folder / layout.data(f"labels.{name}")
    else:
        tables.comparisons(name)
        place = tables.folder / layout.comparisons(name)
    from stages.artifacts.manifest import write_manifest
    from stages.artifacts.schemas import KINDS

    manifest = read_manifest(place)
    schema = KINDS[manifest.kind]
    found = [r for reader in table_readers(place, schema) for r in reader.table().to_pylist()]
    for row in found:
        change(row)
    path = place.with_name("damaged.parquet")
    digest = write_table(path, schema, found, manifest.lineage)
    out = path.with_suffix(".json")
    write_manifest(
        out, Manifest(schema.name, str(digest), (path.name,), manifest.lineage, len(found))
    )
    return out


def set_label(row: Row) -> None:
    row["segments"][0]["label"] = "F-ERR"


def no_label(row: Row) -> None:
    row["segments"] = [segment | {"label": None} for segment in row["segments"]]


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("relevance", set_label, "label 'F-ERR' is none of"),
        ("relevance", no_label, "nothing to learn from"),
        ("relevance", lambda row: row.update(answer=9), "answer 9 of feedback f.* is not there"),
        ("relevance", lambda row: row.update(feedback_id="f-x"), "feedback f-x is not there"),
        (
            "relevance",
            lambda row: row["segments"].append({"start": 900, "end": 901, "label": "O"}),
            "labels of another text",
        ),
        ("preference", lambda row: row.update(chosen_id=None), "does not name two answers"),
        ("preference", lambda row: row.update(chosen="something else"), "of other answers"),
    ],
)
def test_tables_that_do_not_fit_the_feedback(
    name: str, change: Any, message: str, tables: Tables
) -> None:
    tables.made("feedback")
    place = damaged(tables, name, change)
    role = "labels" if name == "relevance" else "comparisons"
    given = {role: place, "feedback": tables.folder / layout.data("feedback")}
    with pytest.raises(UserError, match=message):
        train_reward_model(tables.recipe_file, name, tables.folder / "damaged/model.json", **given)
    assert not (tables.folder / "damaged/model.json").exists()


def test_without_its_table() -> None:
    with pytest.raises(UserError, match="recipe"):
        train_reward_model(Path("nowhere/recipe.yaml"), "relevance", Path("nowhere/model.json"))


# The losses


def test_the_loss_of_segments_is_its_closed_form_and_adds_up() -> None:
    model = spans()
    rows = [(ASKED, segments_of_text(model, text)) for text in (TEXTS[0], TEXTS[4])]
    from stages.rewards.qa_reading import segmented_text

    readings = model.network.read([segmented_text(*pair_of(row)) for row in rows])
    targets = [(0, -100, 1), (1, 1)]
    examples = [LabelledReading(r, t) for r, t in zip(readings, targets, strict=True)]
    outputs = model.network.outputs(readings)
    truth = sum(
        -torch.tensor(logits).log_softmax(1)[place, target].item()
        for logits, chosen in zip(outputs, targets, strict=True)
        for place, target in enumerate(chosen)
        if target >= 0
    )
    updater = SegmentUpdater(model.network)
    whole = updater.loss(examples, torch.device("cpu"))
    assert whole.total.item() == pytest.approx(truth, abs=1e-4) and whole.count == 4
    parts = [updater.loss([example], torch.device("cpu")) for example in examples]
    assert sum(part.total.item() for part in parts) == pytest.approx(truth, abs=1e-4)
    assert sum(part.count for part in parts) == 4


def segments_of_text(model: Any, text: str) -> list[Any]:
    from stages.text.segments import segments_of
    from tests.test_rewards_answers import SENTENCES

    return segments_of(text, SENTENCES(text), model.description.level)


def pair_of(row: Any) -> Any:
    return row[0], "plain", row[1]


def test_the_loss_of_pairs_is_its_closed_form_and_reads_each_answer_once() -> None:
    from stages.rewards.qa_reading import whole_text

    model = preference()
    texts = [TEXTS[0], TEXTS[1], TEXTS[4]]
    readings = model.network.read([whole_text(ASKED, "plain", text) for text in texts])
    values = torch.tensor(model.values([(ASKED, text) for text in texts]))
    order = [(0, 1), (1, 2), (2, 0)]
    pairs = [ComparedReadings(readings[a], readings[b]) for a, b in order]
    truth = sum(-(values[a] - values[b]).sigmoid().log().item() for a, b in order)
    updater = ComparisonUpdater(model.network)
    found = updater.loss(pairs, torch.device("cpu"))
    assert found.total.item() == pytest.approx(truth, abs=1e-5) and found.count == 3
    assert found.stats["tokens"] == sum(len(reading.token_ids) for reading in readings)
    small = ComparisonUpdater(net("first", ("a",), budget=1))
    assert [len(batch) for batch in small.batches(pairs)] == [1, 1, 1]


def test_a_huge_difference_has_a_finite_loss() -> None:
    from stages.learning.comparisons import ranking_loss

    better = torch.tensor([1e4, -1e4], requires_grad=True)
    loss = ranking_loss(better, -better.detach())
    loss.backward()
    assert loss.item() == pytest.approx(2e4)
    assert better.grad is not None and better.grad.tolist() == [0.0, -1.0]
