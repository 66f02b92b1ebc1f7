"""What every engine asks of its requests before the first token."""

from __future__ import annotations

from collections.abc import Sequence

from stages.generation.protocol import Request
from stages.runtime.errors import UserError


def check_requests(
    requests: Sequence[Request],
    new_tokens: int,
    vocabulary: int,
    positions: int | None,
    encodes: bool = False,
) -> None:
    """Raise a UserError that names the sample which a model cannot answer.

    Its query is empty, holds an id outside the vocabulary or is too long for ``positions`` (None:
    unbounded) with its ``new_tokens``, or its id comes twice. ``encodes``: query and answer are
    counted apart.
    """
    seen: set[str] = set()
    for request in requests:
        ids, where = request.input_ids, f"sample {request.sample_id}"
        if request.sample_id in seen:
            raise UserError("two requests have one sample id", where, "make the ids unique")
        seen.add(request.sample_id)
        if not ids:
            raise UserError("the query is empty", where, "give at least one token")
        if not 0 <= min(ids) <= max(ids) < vocabulary:
            raise UserError(
                f"the query holds an id outside the vocabulary of {vocabulary}",
                where,
                "encode the prompts with the policy's own tokenizer",
            )
        needed = max(len(ids), new_tokens + 1) if encodes else len(ids) + new_tokens
        if positions is not None and needed > positions:
            raise UserError(
                f"{len(ids)} query tokens and {new_tokens} new ones exceed the model's"
                f" {positions} positions",
                where,
                "shorten the prompt or lower max_new_tokens",
            )


def not_numbers(sample_id: str) -> UserError:
    """Give the error for an answer whose logits were not numbers."""
    return UserError(
        "the model's logits are not numbers",
        sample_id,
        "check the policy's weights and its precision",
    )
