"""From demonstrations to training examples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.artifacts.manifest import table_files
from stages.artifacts.schemas import DEMONSTRATIONS
from stages.contract.chunks import rows_of
from stages.feedback import draw
from stages.learning.examples import Example
from stages.runtime.events import event
from stages.settings.phases import SftUpdate
from stages.text.conditioning import QueryEncoder, plain_ids


def demonstration_examples(
    path: Path, encoder: QueryEncoder, tokenizer: Any, settings: SftUpdate, seed: int, number: int
) -> tuple[dict[str, Example], list[str]]:
    """An example for each demonstration, ended by the end token, and the order of all steps.

    Of an answer longer than ``max_response_tokens`` the beginning is learnt, ended as published.
    """
    examples: dict[str, Example] = {}
    room = settings.max_response_tokens and settings.max_response_tokens - 1
    shortened = 0
    columns = ["demonstration_id", "prompt", "response"]
    for row in rows_of(table_files(path, DEMONSTRATIONS), DEMONSTRATIONS, columns):
        name = row["demonstration_id"]
        query = encoder.query_ids(row["prompt"])
        answer = plain_ids(tokenizer, row["response"])
        shortened += len(answer[:room]) < len(answer)
        response = (*answer[:room], tokenizer.eos_token_id)
        examples[name] = Example(name, query, response, query)
    if shortened:
        event("shortened", demonstrations=shortened, tokens=settings.max_response_tokens)
    names = list(examples)
    steps = settings.steps_of_round(number)
    order = draw.shuffled(len(names), steps, settings.batch_size, seed, number, drop_last=False)
    return examples, [names[index] for index in order.ravel()]
