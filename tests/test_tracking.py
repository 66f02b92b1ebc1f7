"""TensorBoard and W&B: off, then each step once through kills, and nothing but numbers."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_wandb import FakeWandb
from recipes import recipe
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_learning_trainer import examples, trainer_for
from tiny_models import tiny_llama

from stages.contract.job import Job
from stages.contract.tracking import job_trackers
from stages.learning.batches import Layout
from stages.learning.checkpoints import Checkpoints
from stages.learning.draws import Draws
from stages.learning.sft import SftUpdater
from stages.runtime.errors import UserError
from stages.settings.trackers import LogSettings, WandbSettings
from stages.tracking.available import check_trackers
from stages.tracking.protocol import Series
from stages.tracking.trackers import Trackers, open_trackers
from workflow.checks import check_recipe
from workflow.planner import Plan

BOTH = LogSettings(tensorboard=True, wandb=WandbSettings(project="town"))
STEPS = 9
SECRET = "not-for-anyone-0123456789"


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> FakeWandb:
    module = FakeWandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def series(folder: Path, number: int = 2, first_step: int = 100) -> Series:
    return Series("trial", "update_policy", "align", number, folder / "logs", folder / "work",
                  first_step, {"seed": 1})  # fmt: skip


def events(folder: Path, stage: str = "update_policy") -> dict[str, list[tuple[int, float]]]:
    """All scalars below a phase's folder, as TensorBoard itself reads them."""
    reader = EventAccumulator(str(folder / "logs/tensorboard/align" / stage))
    reader.Reload()
    names = reader.Tags()["scalars"]
    return {name: [(e.step, e.value) for e in reader.Scalars(name)] for name in names}


def train(
    folder: Path, tracked: Series, settings: LogSettings, die_at: int | None = None
) -> list[float]:
    """Nine steps with a checkpoint after each third; gives the losses of all steps.

    At every fourth step something else is measured.
    """
    updater = SftUpdater(tiny_llama(), Layout(row_tokens=96, pass_tokens=96), "fp32")
    trainer = trainer_for(
        updater,
        examples(4),
        STEPS,
        settings={"checkpoint_every": 3},
        checkpoints=Checkpoints(folder / "checkpoints", "key"),
        should_stop=lambda: _die(trainer.step == die_at),
    )
    with open_trackers(settings, tracked) as trackers:
        trainer.track(trackers, lambda step: {} if step % 4 else {"answers.kl": float(step)})
        return [record.loss for record in trainer.run()]


def _die(now: bool) -> bool:
    if now:
        raise KeyboardInterrupt  # as a kill: nothing more is saved
    return False


def test_every_step_is_written_once_with_the_rounds_in_a_row(
    tmp_path: Path, wandb: FakeWandb
) -> None:
    losses = train(tmp_path, series(tmp_path), BOTH)
    found = events(tmp_path)
    assert set(found) == {"loss", "rate", "grad_norm", "nll", "answers.kl"}
    assert found["answers.kl"] == [(100, 0.0), (104, 4.0), (108, 8.0)]
    assert [step for step, _ in found["loss"]] == list(range(100, 100 + STEPS))
    assert [value for _, value in found["loss"]] == pytest.approx(losses, rel=1e-6)
    (run,) = wandb.runs
    assert run.finished
    assert [step for step, _ in run.logged] == list(range(100, 100 + STEPS))
    assert [values["update_policy/loss"] for _, values in run.logged] == losses


@pytest.mark.parametrize("deaths", [[1], [5], [3, 8], [4, 5, 7]])
def test_a_killed_update_tells_no_step_twice(
    tmp_path: Path, wandb: FakeWandb, deaths: list[int]
) -> None:
    undisturbed = train(tmp_path / "undisturbed", series(tmp_path / "undisturbed"), LogSettings())
    for step in deaths:
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, series(tmp_path), BOTH, die_at=step)
    losses = train(tmp_path, series(tmp_path), BOTH)
    assert losses == undisturbed
    assert [step for step, _ in events(tmp_path)["loss"]] == list(range(100, 100 + STEPS))
    assert [step for step, _ in events(tmp_path)["answers.kl"]] == [100, 104, 108]
    assert wandb.steps() == list(range(100, 100 + STEPS))
    assert len({run.given["id"] for run in wandb.runs}) == 1 < len(wandb.runs)


def test_another_try_from_the_start_is_another_wandb_run(tmp_path: Path, wandb: FakeWandb) -> None:
    for attempt in ("one", "two"):  # a finished job removes its scratch folder
        where = series(tmp_path)
        train(tmp_path / attempt, Series(**{**vars(where), "work": tmp_path / attempt}), BOTH)
    assert len({run.given["id"] for run in wandb.runs}) == 2
    assert [step for step, _ in events(tmp_path)["loss"]] == list(range(100, 100 + STEPS))


def test_a_round_replaces_its_own_events_and_no_others(tmp_path: Path) -> None:
    settings = LogSettings(tensorboard=True)
    for number, value in ((1, 1.0), (11, 11.0), (1, 1.5)):
        with open_trackers(settings, series(tmp_path, number, number)) as trackers:
            trackers.begin()
            trackers.log(0, {"loss": value})
    assert sorted(events(tmp_path)["loss"]) == [(1, 1.5), (11, 11.0)]


def test_a_loop_that_samples_in_between_tells_every_step(tmp_path: Path) -> None:
    updater = SftUpdater(tiny_llama(), Layout(row_tokens=96, pass_tokens=96), "fp32")
    trainer = trainer_for(updater, examples(4), STEPS)
    batch = Draws(lambda _: list(examples(4)), 2)
    with open_trackers(LogSettings(tensorboard=True), series(tmp_path)) as trackers:
        trainer.track(trackers)
        trainer.resume()
        for _ in range(3):
            trainer.learn(examples(4), batch.again(), 2)
    told = events(tmp_path)["loss"]
    assert [step for step, _ in told] == list(range(100, 106))
    losses = [record.loss for record in trainer.history]
    assert [value for _, value in told] == pytest.approx(losses, rel=1e-6)


def test_a_further_evaluation_is_a_series_of_its_own(tmp_path: Path) -> None:
    own = {"tensorboard": True}
    tracked = recipe(set={"log": own, "evaluate": {"also": {"plain": {"tagged": False}}}})
    for also, value in ((None, 1.0), ("plain", 2.0)):
        out = tmp_path / "phases/align/r1" / ("evaluation.json" if also is None else "plain.json")
        settings = {} if also is None else {"also": also}
        job = Job("evaluate", tracked, settings, out, tmp_path, "align", 1, (), "key")
        with job_trackers(job) as trackers:
            trackers.begin()
            trackers.log(1, {"toxicity.mean": value})
    assert events(tmp_path, "evaluate") == {"toxicity.mean": [(1, 1.0)]}
    assert events(tmp_path, "also.plain") == {"toxicity.mean": [(1, 2.0)]}


def test_nothing_is_written_unless_a_tracker_is_on(tmp_path: Path, wandb: FakeWandb) -> None:
    train(tmp_path, series(tmp_path), LogSettings())
    assert not (tmp_path / "logs").exists()
    assert not wandb.runs
    assert recipe().log == LogSettings()


def test_wandb_is_offline_unless_the_recipe_says_online(
    tmp_path: Path, wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    settings = {"offline": {"project": "town"}, "online": {"project": "town", "mode": "online"}}
    for mode, given in settings.items():
        with open_trackers(LogSettings(wandb=WandbSettings(**given)), series(tmp_path)) as trackers:
            trackers.begin()
        assert wandb.runs[-1].given["mode"] == mode
    # Of the machine, code and environment nothing is handed over, and no key is written down.
    told = json.dumps([run.given for run in wandb.runs])
    assert SECRET not in told
    assert all(SECRET not in path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    quiet = wandb.runs[0].given["settings"]
    assert quiet["disable_git"] and quiet["x_disable_stats"] and quiet["console"] == "off"
    assert wandb.runs[0].given["config"] == {"seed": 1}


def test_a_server_that_cannot_be_reached_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", FakeWandb(reachable=False))
    with (
        pytest.raises(UserError, match=r"W&B cannot be started .*project town.*mode=offline"),
        open_trackers(BOTH, series(tmp_path)) as trackers,
    ):
        trackers.begin()


@pytest.mark.parametrize("package", ["tensorboard", "wandb"])
def test_a_missing_package_is_one_line_before_any_job(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., object] = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == package else real(name, *a)
    )
    change = "log.tensorboard=true" if package == "tensorboard" else "log.wandb.project=town"
    with pytest.raises(UserError, match=rf"{package} is not installed .*rondo\[{package}\]"):
        check_recipe(recipe(set=change))
    check_recipe(recipe())


def test_online_needs_its_key_from_the_environment(
    wandb: FakeWandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    online = LogSettings(wandb=WandbSettings(project="town", mode="online"))
    with pytest.raises(UserError, match="holds no WANDB_API_KEY"):
        check_trackers(online)
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    check_trackers(online)


def test_turning_trackers_on_is_no_settings_business() -> None:
    change = "log.tensorboard=true log.wandb.project=town"
    before, after = Plan(recipe()), Plan(recipe(set=change))
    assert before.recipe.log != after.recipe.log
    for stage in ("sample", "score", "tag", "update_policy", "evaluate"):
        assert before.settings_hash(stage, "align") == after.settings_hash(stage, "align")
    assert before.settings_hash("adopt_policy") == after.settings_hash("adopt_policy")


def test_no_trackers_take_anything() -> None:
    trackers = Trackers()
    trackers.begin([(0, {"loss": 1.0})])
    trackers.log(1, {"loss": 1.0})


def records(path: Path) -> Iterator[bytes]:
    """The records of a .wandb file: 7 bytes of its own, then a LevelDB log of 32 kB blocks."""
    raw, place, held = path.read_bytes(), 7, b""
    while place + 7 <= len(raw):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(raw[place + 4 : place + 6], "little"), raw[place + 6]
        held += raw[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            yield held
            held = b""


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_the_real_wandb_offline(tmp_path: Path) -> None:
    """The package itself: two processes of one job leave each step once in its own files."""
    from wandb.proto import wandb_internal_pb2

    settings = LogSettings(wandb=WandbSettings(project="town"))
    for done, steps in (([], [0, 1, 2]), ([(0, {"loss": 1.0}), (1, {"loss": 0.5})], [2, 3])):
        with open_trackers(settings, series(tmp_path)) as trackers:
            trackers.begin(done)
            for step in steps:
                trackers.log(step, {"loss": 1.0 / (step + 1)})
    found = []
    for path in sorted((tmp_path / "logs/wandb").glob("**/*.wandb")):
        for data in records(path):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(data)
            items = {"/".join(i.nested_key) or i.key: i.value_json for i in record.history.item}
            if "update_policy/loss" in items:
                found.append(int(items["_step"]))
    assert found == [100, 101, 102, 103]
