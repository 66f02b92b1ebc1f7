"""The engine that runs a Hugging Face model in this process."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Literal

from transformers import PreTrainedModel

from stages.generation.attention import attention_configs, positions_of
from stages.generation.loop import Rows, decode
from stages.generation.processing import check_decoding
from stages.generation.protocol import Completion, Decoding, Request
from stages.generation.requests import check_requests
from stages.generation.seq2seq import EncodedRows
from stages.generation.slots import SlotRows
from stages.runtime.errors import UserError

Attention = Literal["invariant", "model"]


class HFEngine:
    """Samples from a decoder-only or encoder-decoder model, ``slots`` samples at a time.

    ``attention`` "invariant" makes a sample the same to the last bit whatever it is batched with
    (see ``stages/generation/attention.py``); "model" keeps the model's own sdpa or eager kernel,
    whose rounding differs with the batch. None takes "invariant" on the CPU and "model" elsewhere.
    The model's configs are set to that attention only while a step runs. The model is put in
    eval mode while completions are drawn. For a LoRA policy give ``get_base_model()`` of it (its
    layers hold the adapter) or the merged model.
    """

    name = "hf"
    whole_shards = False

    def __init__(
        self,
        model: PreTrainedModel,
        end_token_ids: int | Sequence[int],
        pad_token_id: int,
        slots: int = 64,
        attention: Attention | None = None,
    ) -> None:
        ends = [end_token_ids] if isinstance(end_token_ids, int) else end_token_ids
        self.model = model
        self.end_ids = tuple(ends)
        self.pad_id = pad_token_id
        self.slots = slots
        self.vocabulary = len(model.get_output_embeddings().weight)
        self.invariant = (attention or _default_attention(model)) == "invariant"
        self.configs = attention_configs(model)
        if slots < 1:
            raise UserError(f"an engine cannot have {slots} slots", mend="use at least 1")
        _check_family(model)

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[Completion]:
        """Sample one completion for each request; they come as they end.

        A ``UserError`` names the sample whose query is empty, too long for the model, or holds an
        id outside the vocabulary, or whose id comes twice. All is checked before the first token.
        """
        check_decoding(decoding, self.vocabulary, self.end_ids)
        check_requests(
            requests,
            decoding.max_new_tokens,
            self.vocabulary,
            positions_of(self.model),
            encodes=bool(self.model.config.is_encoder_decoder),
        )
        return self._sample(list(requests), decoding)

    def _sample(self, requests: list[Request], decoding: Decoding) -> Iterator[Completion]:
        # Longest queries first: neighbours have like lengths, and the last rows the least to read.
        requests.sort(key=lambda request: -len(request.input_ids))
        training = self.model.training
        self.model.eval()
        try:
            yield from decode(
                self._rows(requests, decoding),
                requests,
                decoding,
                self.end_ids,
                self.vocabulary,
                self.slots,
            )
        finally:
            self.model.train(training)

    def _rows(self, requests: list[Request], decoding: Decoding) -> Rows:
        configs = self.configs if self.invariant else []
        longest = max((len(request.input_ids) for request in requests), default=0)
        if self.model.config.is_encoder_decoder:
            return EncodedRows(self.model, configs, decoding.max_new_tokens, self.pad_id)
        return SlotRows(self.model, configs, longest + decoding.max_new_tokens, self.pad_id)

    def close(self) -> None:
        """Nothing to give back: the model goes with the engine."""


def _default_attention(model: PreTrainedModel) -> Attention:
    return "invariant" if model.device.type == "cpu" else "model"


def _check_family(model: PreTrainedModel) -> None:
    """Refuse families whose positions or attention windows the rows could not make right."""
    config = model.config
    kind = type(model).__name__
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    windowed = getattr(config, "sliding_window", None) is not None
    if kinds != {"full_attention"} or (windowed and getattr(config, "use_sliding_window", True)):
        raise UserError(f"{kind} does not attend to its whole context", mend="use another engine")
    takes_positions = "position_ids" in inspect.signature(model.forward).parameters
    if not takes_positions and not config.is_encoder_decoder:
        raise UserError(f"{kind} takes no position ids", mend="use another engine")
