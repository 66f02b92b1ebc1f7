"""Prompts as people's files hold them: what cannot be used is one clear line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from stages.runtime.errors import UserError
from stages.tasks.protocol import RawPrompt


@dataclass(frozen=True)
class CheckedPrompts:
    """Distinct usable prompts in their order, and how many repeats were merged."""

    texts: list[str]
    merged: int


def check_prompts(
    rows: Iterable[RawPrompt],
    split: str,
    max_characters: int,
    duplicates: Literal["error", "merge"],
    count: int | None = None,
    count_key: str = "the count",
    where: str | None = None,
) -> CheckedPrompts:
    """Strip and check prompts; stop at ``count`` distinct ones, which ``count_key`` has set.

    ``where`` is the place of them all, for the message that there are none.

    Null, blank, too long, or holding a NUL or a lone surrogate is a UserError that names the row;
    so is a repeat unless ``duplicates`` is ``merge``. Emoji, any script and markup are text.
    """
    seen: dict[str, str] = {}
    merged = 0
    for row in rows:
        text = usable(row, max_characters)
        if text in seen:
            if duplicates == "error":
                raise UserError(
                    f"the prompt of {row.place} is that of {seen[text]} again",
                    mend="remove one, or set data.duplicates=merge",
                )
            merged += 1
            continue
        seen[text] = row.place
        if count is not None and len(seen) == count:
            break
    if not seen:
        raise UserError(f"no prompts for {split}", where, "the file or the split is empty")
    if count is not None and len(seen) < count:
        raise UserError(
            f"{count} prompts for {split} are wanted, there are {len(seen)}",
            mend=f"set {count_key} to at most {len(seen)}",
        )
    return CheckedPrompts(list(seen), merged)


def usable(row: RawPrompt, max_characters: int) -> str:
    """The stripped text of a prompt, or a UserError that names its row."""
    text = row.text
    if text is None:
        raise UserError("a prompt is null", row.place, "remove the row or fill it")
    if not isinstance(text, str):
        raise UserError(f"a prompt is {type(text).__name__}, not text", row.place, "mend the row")
    text = text.strip()
    if not text:
        raise UserError("a prompt is blank", row.place, "remove the row or fill it")
    if len(text) > max_characters:
        raise UserError(
            f"a prompt has {len(text)} characters, the limit is {max_characters}",
            row.place,
            "shorten it, or raise data.max_characters",
        )
    if "\0" in text:
        raise UserError("a prompt holds a NUL character", row.place, "remove it")
    if not text.isprintable() and any(0xD800 <= ord(c) <= 0xDFFF for c in text):
        raise UserError("a prompt is not valid Unicode", row.place, "mend its encoding")
    return text
