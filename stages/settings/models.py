"""Settings of policies and base models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from stages.settings.model_sizes import check_sizes
from stages.settings.strict import Strict

Positive = Annotated[int, Field(gt=0)]
Entries = Annotated[int, Field(ge=300)]
"""Of a byte-level vocabulary: 256 bytes and the special tokens come first."""
Share = Annotated[float, Field(ge=0, le=1)]
Precision = Literal["auto", "fp32", "bf16"]


class OptimizerSettings(Strict):
    """Adam with decoupled weight decay, and its schedule."""

    lr: float = Field(gt=0)
    schedule: Literal["constant", "linear", "cosine"] = "linear"
    warmup_steps: int = Field(0, ge=0)
    total_steps: int | None = Field(None, gt=0, description="length of the schedule; null: steps")
    betas: tuple[Share, Share] = Field((0.9, 0.999), strict=False)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    clip_grad: float | None = Field(None, gt=0, description="largest gradient norm; null: off")


class LoraSettings(Strict):
    """Low-rank adapters instead of all weights (Hu et al. 2021): W + alpha / rank * BA."""

    rank: Positive = 16
    alpha: float = Field(32.0, gt=0)
    dropout: float = Field(
        0.0, ge=0, lt=1, description="of what goes into the adapter, where update.dropout is true"
    )
    target_modules: list[str] | None = None


class BaseModelSettings(Strict):
    """A small language model trained from scratch on the task's texts."""

    architecture: str = "llama"
    config: dict[str, Any] = Field(description="sizes, as the architecture's config names them")
    attention: Literal["random", "mimetic"] = Field(
        "random",
        description="weights that attention starts from; mimetic (of a T5): it looks for like "
        "tokens and copies them",
    )
    vocabulary: Entries = Field(description="entries of the byte-level BPE")
    texts: Positive | None = Field(None, description="number of training texts; null: all")
    max_tokens: Positive = Field(128, description="of a thread of texts; the rest is left out")
    steps: Positive
    batch_size: Positive = Field(description="threads per step")
    checkpoint_every: Positive = 500
    optimizer: OptimizerSettings

    _can_be_built = field_validator("config")(check_sizes)


class PolicySettings(Strict):
    """The model to align. ``init``: a folder, a hub name, ``from_scratch``, or a shipped model
    (``embedded``, ``embedded-reader``)."""

    init: str
    tokenizer: str | None = Field(
        None, description="folder or hub name of another one; null: the one beside the model"
    )
    revision: str | None = None
    max_prompt_tokens: Positive | None = Field(
        None, description="a longer prompt loses its end, in every stage; null: it is read whole"
    )
    lora: LoraSettings | None = None
    base_model: BaseModelSettings | None = None

    @model_validator(mode="after")
    def _has_base(self) -> PolicySettings:
        if self.tokenizer is not None and self.init == "from_scratch":
            raise ValueError("init: from_scratch trains a tokenizer of its own; leave tokenizer")
        if (self.init == "from_scratch") != (self.base_model is not None):
            raise ValueError(
                "base_model belongs to init: from_scratch, and only there; init is "
                f"{self.init!r}, base_model is {'set' if self.base_model else 'not set'}"
            )
        return self
