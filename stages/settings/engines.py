"""Settings of generation engines: which one samples, and how it uses its machine."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from stages.settings.models import PolicySettings, Positive
from stages.settings.strict import Strict

ENCODER_DECODERS = frozenset(
    {
        *("bart", "bigbird_pegasus", "blenderbot", "blenderbot-small", "fsmt", "led", "longt5"),
        *("m2m_100", "marian", "mbart", "mt5", "mvp", "nllb-moe", "pegasus", "pegasus_x", "plbart"),
        *("prophetnet", "switch_transformers", "t5", "t5gemma", "umt5"),
    }
)
"""Text models of transformers that read with an encoder, by model type."""


class VllmSettings(Strict):
    """How the engine `vllm` uses its machine, and what it may trade for speed."""

    memory: float = Field(0.9, gt=0, le=1, description="share of the GPU's memory")
    cpu_cache_gb: float = Field(1.0, gt=0, description="on a CPU: keys and values, in GiB")
    context: Positive | None = Field(
        None, description="most tokens of query and answer; null: the model's positions"
    )
    eager: bool = Field(False, description="no CUDA graphs, no compilation; on a CPU always")
    adapter: Literal["auto", "merged"] = Field(
        "auto", description="LoRA policies: auto keeps the adapter apart where vLLM can"
    )
    batch_invariant: bool = Field(
        False, description="NVIDIA: kernels whose result does not depend on the batch (slower)"
    )


class EngineSettings(Strict):
    """Which engine samples, and how much at a time."""

    engine: Literal["hf", "vllm"] = "hf"
    vllm: VllmSettings | None = Field(None, description="of the engine vllm; null: its defaults")
    slots: Positive | None = Field(
        None, description="sequences decoded side by side; null: 32 with hf, 256 with vllm"
    )
    chunk: Positive = Field(256, description="answers per resumable chunk")

    @model_validator(mode="after")
    def _vllm_is_chosen(self) -> EngineSettings:
        if self.vllm is not None and self.engine != "vllm":
            raise ValueError(f"vllm is set, but the engine is {self.engine}")
        return self


def trains_encoder_decoder(policy: PolicySettings) -> bool:
    """Whether a policy that is trained from scratch will be an encoder-decoder."""
    return policy.base_model is not None and policy.base_model.architecture in ENCODER_DECODERS
