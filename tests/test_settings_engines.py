"""Which engine samples: said in the recipe, checked without importing one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from recipes import recipe

from stages.runtime.errors import UserError
from stages.settings.engines import ENCODER_DECODERS, VllmSettings
from workflow.checks import check_recipe
from workflow.planner import Plan

SAMPLE = "phases.align.sample"


def test_hf_samples_unless_the_recipe_says_otherwise() -> None:
    plain = recipe()
    sample = plain.phases["align"].sample
    assert sample is not None
    assert (sample.engine, sample.vllm, plain.evaluate.engine) == ("hf", None, "hf")
    assert recipe(set="phases.align.sample.slots=null").phases["align"].sample.slots is None


def test_each_of_sampling_and_evaluating_has_an_engine_of_its_own() -> None:
    chosen = recipe(
        set=f"{SAMPLE}.engine=vllm {SAMPLE}.vllm.memory=0.5 {SAMPLE}.vllm.context=256"
        f" {SAMPLE}.vllm.adapter=merged"
    )
    assert chosen.phases["align"].sample.vllm == VllmSettings(
        memory=0.5, context=256, adapter="merged"
    )
    plan = Plan(chosen)
    assert plan.samples_with("vllm", "sample")
    assert not plan.samples_with("vllm", "evaluate")
    other = Plan(recipe(set="evaluate.engine=vllm"))
    assert not other.samples_with("vllm", "sample")
    assert other.samples_with("vllm", "evaluate")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (f"{SAMPLE}.engine=vlm", f"'{SAMPLE}.engine': Input should be 'hf' or 'vllm'"),
        (f"{SAMPLE}.vllm.memory=0.5", "vllm is set, but the engine is hf"),
        ("evaluate.vllm.eager=true", "vllm is set, but the engine is hf"),
        (f"{SAMPLE}.engine=vllm {SAMPLE}.vllm.memory=1.5", f"'{SAMPLE}.vllm.memory'"),
        (f"{SAMPLE}.engine=vllm {SAMPLE}.vllm.memry=0.5", "did you mean 'memory'?"),
        (f"{SAMPLE}.engine=vllm {SAMPLE}.vllm.adapter=apart", f"'{SAMPLE}.vllm.adapter'"),
    ],
)
def test_a_wrong_engine_or_setting_is_one_line_with_its_key(change: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        recipe(set=change)
    assert message in caught.value.line()


@pytest.mark.parametrize("key", [SAMPLE, "evaluate"])
def test_vllm_is_refused_for_an_encoder_decoder_before_any_job(tmp_path: Path, key: str) -> None:
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).touch()
    (tmp_path / "config.json").write_text(json.dumps({"is_encoder_decoder": True}))
    with pytest.raises(UserError, match=rf"no encoder-decoders.*\({key}.engine: vllm\)"):
        check_recipe(recipe(set={"policy": {"init": str(tmp_path)}, **engine(key)}))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    check_recipe(recipe(set={"policy": {"init": str(tmp_path)}, **engine(key)}))


def engine(key: str) -> dict[str, object]:
    value: dict[str, object] = {"engine": "vllm"}
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def test_a_policy_trained_from_scratch_is_known_by_its_architecture() -> None:
    llama = recipe(scale="test", set=f"{SAMPLE}.engine=vllm")
    check_recipe(llama)
    with pytest.raises(UserError, match="no encoder-decoders"):
        check_recipe(
            recipe(scale="test", set=f"{SAMPLE}.engine=vllm policy.base_model.architecture=t5")
        )


def test_the_list_of_encoder_decoders_is_that_of_the_library() -> None:
    from transformers import AutoConfig

    for name in sorted(ENCODER_DECODERS):
        assert AutoConfig.for_model(name).is_encoder_decoder, name
