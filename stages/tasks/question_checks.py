"""Questions and feedback as people's files hold them: no question stands twice unseen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeVar

from stages.runtime.errors import UserError
from stages.tasks.notes import Notes

Row = TypeVar("Row")
Duplicates = Literal["error", "merge"]


def normalised(question: str) -> str:
    """A question as prompts and feedback are joined by: one blank for white space, no case."""
    return " ".join(question.split()).casefold()


def distinct(
    rows: Iterable[Row],
    question: Callable[[Row], str],
    place: Callable[[Row], str],
    duplicates: Duplicates,
    notes: Notes,
) -> Iterator[Row]:
    """Rows with distinct questions, in order.

    A question that is there twice is a UserError that names both rows; with ``merge`` the first
    row stays and the others are counted.
    """
    seen: dict[str, str] = {}
    for row in rows:
        key, here = normalised(question(row)), place(row)
        if key not in seen:
            seen[key] = here
            yield row
        elif duplicates == "error":
            raise UserError(
                f"the question of {here} is that of {seen[key]} again",
                mend="remove one, or set data.duplicates=merge",
            )
        else:
            notes.leave_out("a question that was there before", here)
