"""Any Hugging Face sequence classifier as a scorer: the probability of one of its labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from stages.models.load import explain_load, refuse_missing
from stages.models.pooling import pool
from stages.models.precision import Precision, autocast
from stages.rewards.batching import token_batches
from stages.rewards.encoding import encode, longest_input, padded
from stages.rewards.protocol import Scorable, Score
from stages.rewards.texts import PromptUse, is_blank, text_of
from stages.runtime.errors import UserError
from stages.settings.labels import Activation, check_activation, label_index
from stages.settings.model_folders import check_model_folder

POOLED_BY_PAD = ("CTRLForSequenceClassification", "ModernBertDecoderForSequenceClassification")


class Classifier:
    """Scores a response by the value that a sequence classifier gives one label.

    ``label`` is a name of the model's own ``id2label`` or an index. ``activation`` says what
    makes a value of the logits: a softmax over the labels, a sigmoid, or nothing (a reward).
    A batch holds at most ``batch_tokens`` padded tokens; which texts share it changes no value
    by more than 1e-5 (fp32). Blank responses score None. A text longer than the model's context
    loses its end (``prompt`` none) or its beginning (prefix).
    """

    judge_only = False

    def __init__(
        self,
        attribute: str,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        label: str | int,
        activation: Activation = "softmax",
        prompt: PromptUse = "none",
        batch_tokens: int = 8192,
        precision: Precision = "fp32",
    ) -> None:
        self.attributes: tuple[str, ...] = (attribute,)
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.label = label_index(model.config.id2label or {}, label)
        self.activation = activation
        self.prompt: PromptUse = prompt
        self.batch_tokens = batch_tokens
        self.precision: Precision = precision
        self.limit = longest_input(model.config, tokenizer)
        problem = getattr(model.config, "problem_type", None)
        check_activation(activation, len(model.config.id2label or {}), problem)

    def score(self, rows: Sequence[Scorable]) -> Iterator[Score]:
        """Score each row in its order."""
        judged = [row for row in rows if not is_blank(row)]
        values = iter(self.values([text_of(row, self.prompt) for row in judged]))
        for row in rows:
            value = None if is_blank(row) else next(values)
            yield Score(row.sample_id, self.attributes[0], value)

    def values(self, texts: Sequence[str]) -> list[float]:
        """The label's value for each text that is not blank."""
        ids = encode(self.tokenizer, texts, self.limit, "start" if self.prompt == "none" else "end")
        values = [0.0] * len(texts)
        for batch in token_batches([len(row) for row in ids], self.batch_tokens):
            found = self._label_values([ids[index] for index in batch])
            for index, value in zip(batch, found.tolist(), strict=True):
                values[index] = value
        return values

    @torch.inference_mode()
    def _label_values(self, ids: Sequence[Sequence[int]]) -> Tensor:
        device = self.model.device
        input_ids, lengths = padded(ids, self.tokenizer.pad_token_id or 0, device)
        with autocast(self.precision, device):
            logits = class_logits(self.model, input_ids, lengths)
        return activate(logits.double(), self.activation)[:, self.label]


def load_classifier(
    folder: str | Path,
    attribute: str,
    label: str | int,
    activation: Activation = "softmax",
    prompt: PromptUse = "none",
    batch_tokens: int = 8192,
    precision: Precision = "fp32",
    device: torch.device | str = "cpu",
) -> Classifier:
    """A classifier from a folder or hub name.

    No tokenizer, a head without weights (the library would make them up with only a warning), an
    unknown label or a model that can only pool by looking for pad tokens: UserError.
    """
    check_model_folder(folder)
    with explain_load(folder):
        tokenizer = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
        model, info = AutoModelForSequenceClassification.from_pretrained(
            str(folder), dtype=torch.float32, output_loading_info=True, trust_remote_code=False
        )
    refuse_missing(info, folder)
    if type(model).__name__ in POOLED_BY_PAD:
        raise UserError(
            f"{type(model).__name__} finds the end of a text by its pad token",
            folder,
            "use a classifier of another architecture",
        )
    return Classifier(
        attribute,
        model.to(device),
        tokenizer,
        label,
        activation,
        prompt,
        batch_tokens,
        precision,
    )


def class_logits(model: PreTrainedModel, input_ids: Tensor, lengths: Tensor) -> Tensor:
    """Logits [B, labels] in fp32 of right-padded ids [B, L] with ``lengths`` [B] tokens.

    A decoder-only classifier is read at the last token by length. Its own forward reads the last
    token that is not the pad token, which is one too early for a text that ends in the end token
    where pad and end are one (huggingface/transformers#35352). Others are read as they are.
    """
    mask = (torch.arange(input_ids.shape[1], device=input_ids.device) < lengths[:, None]).long()
    head: Any = getattr(model, "score", None)
    if head is None or model.config.is_encoder_decoder:
        return model(input_ids=input_ids, attention_mask=mask).logits.float()
    hidden = model.base_model(input_ids, attention_mask=mask, use_cache=False).last_hidden_state
    pooled = pool(hidden, lengths, "last").float()
    with torch.autocast(pooled.device.type, enabled=False):
        return head(pooled)


def activate(logits: Tensor, activation: Activation) -> Tensor:
    """Values [B, labels] of logits [B, labels]."""
    if activation == "softmax":
        return logits.softmax(dim=1)
    return logits.sigmoid() if activation == "sigmoid" else logits
