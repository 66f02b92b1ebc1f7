"""Numbers, names and times as a person would write them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from stages.runtime.inert import visible

TAG_LABEL = 24
"""Characters of a tag's words that a figure shows."""
SMALL_NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def count_of(number: int, thing: str) -> str:
    """``three rounds``, ``one round``, ``12 rounds``."""
    word = SMALL_NUMBERS[number] if number < len(SMALL_NUMBERS) else f"{number:,}"
    return f"{word} {thing}" if number == 1 else f"{word} {thing}s"


def listed(words: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def number(value: float | None) -> str:
    """Three digits that matter: 0.384, 12.6, 1,204; a dash for nothing."""
    if value is None:
        return "–"
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if size >= 100:
        return f"{value:.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 1:
        return f"{value:.2f}"
    return f"{value:.3f}" if size >= 0.001 else f"{value:.1e}"


def signed(value: float) -> str:
    """A difference: ``+0.12``, ``−0.31``, ``0.00``."""
    size = short(abs(value))
    if not size.strip("0."):
        return size
    return f"{'−' if value < 0 else '+'}{size}"


def short(value: float) -> str:
    """A number for a headline: two digits behind the point below 10."""
    return f"{value:.2f}" if abs(value) < 10 else number(value)


def percent(share: float) -> str:
    """``23 %``; one digit behind the point below 1 %."""
    value = 100 * share
    return f"{value:.1f} %" if 0 < abs(value) < 1 else f"{value:.0f} %"


def change(before: float, after: float) -> str | None:
    """``−76 %`` or ``+12 %``; None where there is nothing to compare with."""
    if before == 0:
        return None
    ratio = after / before - 1
    sign = "−" if ratio < 0 else "+"
    return f"{sign}{percent(abs(ratio))}"


def duration(seconds: float | None) -> str:
    """``0.8 s``, ``42 s``, ``3 min 20 s``, ``42 min``, ``2 h 05 min``; a dash for nothing."""
    if seconds is None:
        return "–"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 3600:
        return f"{round(whole / 60)} min"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def memory(megabytes: float | None) -> str:
    """``812 MB`` or ``2.4 GB``; a dash for nothing."""
    if megabytes is None:
        return "–"
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"


def large(count: int | None) -> str:
    """``12,400``, ``1.2 M``, ``3.4 G``; a dash for nothing."""
    if count is None:
        return "–"
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M")):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count:,}"


def sentence_case(name: str) -> str:
    """A name of the code as the start of a sentence: ``open_ended`` gives ``Open ended``."""
    words = name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def tag_label(tag: str, limit: int = TAG_LABEL) -> str:
    """The first words of a tag, for a figure: at most ``limit`` characters with the dots."""
    whole = visible(tag.strip())
    if len(whole) <= limit:
        return whole
    words = textwrap.shorten(whole, limit, placeholder=" …")
    return words if words != " …" and words != "…" else f"{whole[: limit - 1]}…"
