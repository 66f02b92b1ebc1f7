"""What every updater learns from: token ids, never text."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """One training sequence.

    The policy predicts ``response_ids`` after ``query_ids`` (which holds the tag, where there is
    one). The reference predicts the same ``response_ids`` after ``reference_query_ids``.
    ``response_ids`` holds the end token if and only if the answer was finished.
    """

    example_id: str
    query_ids: tuple[int, ...]
    response_ids: tuple[int, ...]
    reference_query_ids: tuple[int, ...]
