"""Long-form QA end to end on the embedded world, with an encoder-decoder: SFT, then tags."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mini_run import MiniRun

from benchmarks.qualities import before_and_after
from stages.artifacts.manifest import read_manifest, table_files
from stages.artifacts.schemas import METRICS, POOL, PROMPTS, SAMPLES, TableKind
from stages.artifacts.store import read_rows
from stages.models.load import load_policy
from stages.report import report
from stages.settings import layout
from stages.text.conditioning import QueryEncoder
from stages.world.qa.truth import Truth

RIVAL = {"update": {"kind": "sft", "steps": 2, "batch_size": 4, "optimizer": {"lr": 1e-3}}}
ATTRIBUTES = ("relevance", "factuality", "completeness")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> MiniRun:
    folder = tmp_path_factory.mktemp("lfqa")
    phases = {"phases": {"rival": RIVAL | {"start_from": "sft"}}}
    return MiniRun(folder, phases, recipe="lfqa-nlf", scale="test").all()


def rows(run: MiniRun, manifest: str, kind: TableKind) -> list[dict[str, Any]]:
    return [row for file in table_files(run.path(manifest), kind) for row in read_rows(file, kind)]


def metrics(run: MiniRun, phase: str, number: int) -> dict[str, float]:
    found = rows(run, layout.in_round(phase, number, "evaluation"), METRICS)
    return {row["metric"]: row["value"] for row in found}


def test_the_policy_is_an_encoder_decoder_in_every_stage(run: MiniRun) -> None:
    from transformers import AutoConfig

    for place in ("base", "phases/sft/r2", "phases/align/r2"):
        config = AutoConfig.from_pretrained(run.path(f"{place}/policy"))
        assert config.is_encoder_decoder, place


def test_the_best_policy_is_handed_on(run: MiniRun) -> None:
    values = {number: metrics(run, "sft", number)["rouge.Lsum"] for number in (1, 2)}
    best = max(values, key=lambda number: (values[number], -number))
    handed = read_manifest(run.path(layout.best("sft")))
    chosen = read_manifest(run.path(layout.in_round("sft", best, "policy")))
    assert handed.digest == chosen.digest
    start = read_manifest(run.path(layout.in_round("align", 1, "policy_in")))
    assert start.digest == chosen.digest
    measured = metrics(run, "sft", best)
    again = {n: v for n, v in metrics(run, "align", 0).items() if not n.endswith(".scorer")}
    assert again.keys() == measured.keys()


def test_one_text_before_the_prompt_in_sampling_and_training(run: MiniRun) -> None:
    from stages.models.load import load_tokenizer

    tokenizer = load_tokenizer(run.path("phases/align/r1/policy"))
    texts = {row["prompt_id"]: row["text"] for row in rows(run, "data/train.json", PROMPTS)}
    first = rows(run, "phases/align/r1/samples.json", SAMPLES)
    assert {row["tag"] for row in first} == {None}
    for row in rows(run, "phases/align/r2/samples.json", SAMPLES):
        assert row["tag"].count(", and ") == 2  # all three attributes are named
        assert 0 in row["quantiles"]
        whole = f"feedback: {row['tag']} input: {texts[row['prompt_id']]}"
        assert tokenizer.decode(row["query_ids"], skip_special_tokens=True) == whole


def test_neighbouring_prompts_share_a_draw(run: MiniRun) -> None:
    order = [row["prompt_id"] for row in rows(run, "data/train.json", PROMPTS)]
    asked = {
        r["prompt_id"]: r["quantiles"] for r in rows(run, "phases/align/r2/samples.json", SAMPLES)
    }
    draws = [[asked[name] for name in order[start : start + 4]] for start in range(0, 12, 4)]
    assert all(own == [own[0]] * 4 for own in draws)
    assert len({str(own[0]) for own in draws}) > 1


def test_every_attribute_is_cut_and_named(run: MiniRun) -> None:
    pool = rows(run, "phases/align/r2/pool.json", POOL)
    assert len(pool) == 24
    assert all(len(row["quantiles"]) == 3 for row in pool)


def test_metrics_of_every_attribute_and_every_turned_tag(run: MiniRun) -> None:
    found = metrics(run, "align", 2)
    for attribute in ATTRIBUTES:
        for turned in ATTRIBUTES:
            for quantile in range(3):
                assert f"{attribute}.mean.tag.{turned}.{quantile}" in found
        assert f"{attribute}.mean.scorer" in found
    assert "relevance.correct.tag.factuality.2" in found
    assert {"rouge.1", "rouge.2", "rouge.L", "rouge.Lsum", "length", "kl.reference"} <= set(found)
    parts = [(found["relevance.mean"] + 1) / 2, (found["factuality.mean"] + 1) / 2]
    expected = sum([*parts, found["completeness.mean"]]) / 3
    assert found["selection"] == pytest.approx(expected)


def test_kl_is_of_the_policy_after_its_tag_from_the_one_before_the_phase(run: MiniRun) -> None:
    """Each sample alone, by the models' own forward passes; the plain prompt for the reference."""
    assert metrics(run, "align", 0)["kl.reference"] == pytest.approx(0, abs=1e-6)
    folder = run.path(layout.in_round("align", 2, "evaluation")).with_suffix("")
    start = read_manifest(run.path(layout.in_round("align", 1, "policy_in")))
    policy, _ = load_policy(run.path("phases/align/r2/policy"), torch.float32, "cpu")
    reference, tokenizer = load_policy(run.path(start.facts["folder"]), torch.float32, "cpu")
    encoder = QueryEncoder(tokenizer, run.plan.recipe.policy.max_prompt_tokens)
    texts = {row["prompt_id"]: row["text"] for row in rows(run, "data/validation.json", PROMPTS)}
    sums = []
    for row in read_rows(folder / "samples.parquet", SAMPLES):
        if set(row["quantiles"]) == {0}:
            plain = encoder.query_ids(texts[row["prompt_id"]])
            ours = log_probs(policy, row["query_ids"], row["response_ids"])
            theirs = log_probs(reference, plain, row["response_ids"])
            width = theirs.shape[1]
            ours = ours[:, :width].log_softmax(dim=1)
            sums.append(float((ours.exp() * (ours - theirs)).sum()))
    assert metrics(run, "align", 2)["kl.reference"] == pytest.approx(np.mean(sums), rel=1e-3)
    assert np.mean(sums) > 1e-4


@torch.no_grad()
def log_probs(model: Any, query: Sequence[int], answer: Sequence[int]) -> torch.Tensor:
    fed = torch.tensor([[model.config.decoder_start_token_id, *answer[:-1]]])
    logits = model(input_ids=torch.tensor([list(query)]), decoder_input_ids=fed).logits[0]
    return logits.double().log_softmax(dim=1)


def test_the_judge_is_the_worlds_truth(run: MiniRun) -> None:
    """Counted by hand from the answers on the disk."""
    from stages.artifacts.schemas import QUESTIONS

    asked = {
        row["prompt_id"]: row for row in rows(run, "data/questions.validation.json", QUESTIONS)
    }
    folder = run.path("phases/align/r0/evaluation")
    values = []
    for row in read_rows(folder / "samples.parquet", SAMPLES):
        question = asked[row["prompt_id"]]
        passages = [(page["title"], page["text"]) for page in question["passages"]]
        truth = Truth(question["question"], passages)
        values.append(truth.completeness(truth.read(row["response"])))
    assert metrics(run, "align", 0)["completeness.mean"] == pytest.approx(sum(values) / 6)


def test_base_model_and_sft_learn(run: MiniRun) -> None:
    from stages.artifacts.schemas import TRAINING_LOG

    for place in ("base", "phases/sft/r1"):
        log = read_rows(Path(run.path(f"{place}/training_log.parquet")), TRAINING_LOG)
        losses = [row["value"] for row in log if row["name"].endswith("nll")]
        assert losses[-1] < losses[0], place


def test_a_rival_starts_from_the_same_policy(run: MiniRun) -> None:
    """Although another phase stands between it and the one that it names."""
    start = read_manifest(run.path(layout.in_round("rival", 1, "policy_in")))
    assert start.digest == read_manifest(run.path(layout.best("sft"))).digest
    before = {phase: metrics(run, phase, 0) for phase in ("align", "rival")}
    # Without a phase's own scorers and tags: the same policy says the same.
    for name in ("rouge.Lsum", "completeness.mean", "length", "perplexity.base"):
        assert before["rival"][name] == before["align"][name], name
    last = read_manifest(run.path(layout.in_round("align", 2, "policy")))
    assert start.digest != last.digest


def test_pooled_qualities_are_those_that_the_run_measured(run: MiniRun) -> None:
    """Of one run, the figures that the evidence pools over seeds."""
    pooled = before_and_after([run.root], "align")
    for side, number in (("before", 0), ("after", 2)):
        also = rows(run, layout.also("align", number, "test"), METRICS)
        found = {row["metric"]: row["value"] for row in also}
        assert pooled[side]["completeness"]["value"] == pytest.approx(found["completeness.mean"])
        assert pooled[side]["completeness"]["n"] == 6
        parts = [pooled[side][attribute]["value"] for attribute in ATTRIBUTES]
        assert pooled[side]["sum"]["value"] == pytest.approx(sum(parts))


def test_the_report_says_what_each_phase_was_asked_with(run: MiniRun) -> None:
    """SFT and its rival have no tags; they are not said to be asked on tags of their own."""
    report(run.recipe_file, run.root / "summary.json", run.root / "report.html")
    page = (run.root / "report.html").read_text(encoding="utf-8")
    asked = re.findall(r"answers? each (.*?); judged", page)
    plain, tagged = "without a tag", "on the phase’s own tags"
    # Of sft, align and rival in turn: the evaluations `test` and `untagged`.
    assert asked == [plain, plain, tagged, plain, plain, plain]
