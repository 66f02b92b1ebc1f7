"""The engine that samples with vLLM: a whole shard in one submission, answers as they end.

vLLM computes logits for as many requests at a time as its cache holds, and shares the cache of
equal prefixes; each token is chosen by this project's own functions inside it
(``vllm_choice``). So both log-probabilities are exact, and a sample depends on its seed, not on
its neighbours, up to the rounding of the logits: that differs with the batch unless vLLM's
batch-invariant kernels are asked for.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.generation.processing import check_decoding
from stages.generation.protocol import Completion, Decoding, Request
from stages.generation.requests import check_requests, not_numbers
from stages.generation.vllm_row import LARGEST, carried
from stages.generation.vllm_start import start
from stages.runtime.signals import leave_if_asked
from stages.settings.engines import VllmSettings

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams


class VllmEngine:
    """Samples from a decoder-only policy. Requests are begun in the order given.

    Give requests that share a prefix side by side: it is then computed once. ``end_token_ids``
    end an answer. A policy with an adapter is loaded as ``settings.adapter`` says.
    """

    name = "vllm"
    whole_shards = True

    def __init__(
        self,
        folder: str | Path,
        end_token_ids: Sequence[int],
        settings: VllmSettings,
        dtype: str,
        device: str,
        slots: int | None = None,
    ) -> None:
        self.end_ids = tuple(end_token_ids)
        self.engine, self.adapter = start(folder, settings, dtype, device, slots)
        self.vocabulary = int(self.engine.model_config.get_vocab_size())
        self.positions = int(self.engine.model_config.max_model_len)
        self.under_way: set[str] = set()

    def generate(self, requests: Sequence[Request], decoding: Decoding) -> Iterator[Completion]:
        """Sample one completion for each request; they come as they end.

        All is checked before the first token, see :func:`check_requests`. One call at a time: a
        new one drops what an older one has not yet given.
        """
        check_decoding(decoding, self.vocabulary, self.end_ids)
        check_requests(requests, decoding.max_new_tokens, self.vocabulary, self.positions)
        return self._sample(list(requests), decoding)

    def close(self) -> None:
        """Stop vLLM's processes and give back the memory, also of one that runs in this process."""
        self._drop()
        self.engine.engine_core.shutdown()
        del self.engine
        gc.collect()

    def _sample(self, requests: list[Request], decoding: Decoding) -> Iterator[Completion]:
        self._drop()
        try:
            self._submit(requests, decoding)
            while self.under_way:
                for output in self._step():
                    if output.request_id in self.under_way and output.finished:
                        self.under_way.remove(output.request_id)
                        yield _completion(output)
        finally:
            self._drop()

    def _submit(self, requests: list[Request], decoding: Decoding) -> None:
        from vllm import TokensPrompt

        prompts = self.engine.renderer.render_cmpl(
            [TokensPrompt(prompt_token_ids=list(request.input_ids)) for request in requests]
        )
        for request, prompt in zip(requests, prompts, strict=True):
            parameters = self._parameters(request, decoding)
            self.under_way.add(request.sample_id)
            self.engine.add_request(
                request.sample_id, prompt, parameters, lora_request=self.adapter
            )

    def _parameters(self, request: Request, decoding: Decoding) -> SamplingParams:
        from vllm import SamplingParams
        from vllm.sampling_params import RequestOutputKind

        from stages.generation.vllm_choice import instructions

        return SamplingParams(
            temperature=0.0,  # the processor has chosen: take its token
            max_tokens=decoding.max_new_tokens,
            stop_token_ids=list(self.end_ids),
            ignore_eos=True,  # end tokens are those above, not what the model's files say
            logprobs=LARGEST,
            flat_logprobs=True,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            extra_args=instructions(request, decoding, self.end_ids),
            skip_clone=True,  # it is this request's own
        )

    def _step(self) -> list[RequestOutput]:
        try:
            return self.engine.step()
        except Exception:
            # A scheduler's SIGTERM reaches vLLM's processes too; then there is nothing to mend.
            leave_if_asked()
            raise

    def _drop(self) -> None:
        """Forget the requests that nobody waits for any more."""
        if self.under_way:
            self.engine.abort_request(list(self.under_way))
            self.under_way.clear()


def _completion(output: Any) -> Completion:
    answer = output.outputs[0]
    if answer.finish_reason not in ("stop", "length"):
        raise RuntimeError(f"vLLM ended {output.request_id} with {answer.finish_reason!r}")
    values = answer.logprobs.logprobs
    if any(value != value for value in values):
        raise not_numbers(output.request_id)
    raw, processed = carried(values)
    return Completion(
        sample_id=output.request_id,
        token_ids=tuple(answer.token_ids),
        logprobs_raw=tuple(raw),
        logprobs_processed=tuple(processed),
        finish_reason=answer.finish_reason,
    )
