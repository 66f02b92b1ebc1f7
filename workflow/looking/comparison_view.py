"""Two evaluations side by side on a terminal, or as rows for programs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from workflow.looking.comparison import Comparison, Moved, Paired, Shown
from workflow.looking.overview import interval
from workflow.looking.table import simple_table
from workflow.looking.terminal import (
    BAD,
    GOOD,
    MUTED,
    NAME,
    STRONG,
    bar,
    ends,
    lines,
    number,
    plain,
    score_text,
)

MOST_SETTINGS = 12


def print_comparison(found: Comparison, console: Console) -> None:
    """Settings that differ, metrics, paired differences, biggest moves."""
    for letter, side in zip("AB", found.sides, strict=True):
        line = Text.assemble((f"{letter}  ", MUTED), (plain(side.label), STRONG))
        console.print(line.append(f"  {plain(str(side.artifact.name))}", NAME))
    console.print()
    if found.settings:
        _print_settings(found, console)
    _print_metrics(found, console)
    _print_paired(found, console)
    pair = next(pair for pair in found.paired if pair.scorer == found.by)
    for title, moved in zip(("most improved", "most worsened"), found.movers, strict=True):
        if moved:
            console.print(Text.assemble((title, STRONG), (f" by {plain(found.by)}", MUTED)))
            console.print(_movers(moved, pair, console.width))
            console.print()


def comparison_rows(found: Comparison) -> tuple[tuple[str, ...], list[dict[str, Any]]]:
    """Every prompt that both answered, with its scores on both sides: columns and rows."""
    by_prompt: dict[str, dict[str, Any]] = {}
    columns = ["prompt_id"]
    for pair in found.paired:
        names = [f"{pair.scorer}_{side}" for side in ("a", "b", "gain")]
        columns += names
        for row in pair.rows.to_pylist():
            own = by_prompt.setdefault(row["prompt_id"], {"prompt_id": row["prompt_id"]})
            values = (row["before"], row["after"], row["gain"])
            own |= dict(zip(names, values, strict=True))
    empty = dict.fromkeys(columns)
    ordered = next(pair for pair in found.paired if pair.scorer == found.by).rows["prompt_id"]
    first = [by_prompt[name] for name in ordered.to_pylist()]
    rest = [row for name, row in sorted(by_prompt.items()) if row not in first]
    return tuple(columns), [{**empty, **row} for row in (*first, *rest)]


def _print_settings(found: Comparison, console: Console) -> None:
    rows = [
        [plain(key), _setting(old), _setting(new)]
        for key, old, new in found.settings[:MOST_SETTINGS]
    ]
    console.print(simple_table(("settings that differ", "A", "B"), rows))
    left = len(found.settings) - MOST_SETTINGS
    if left > 0:
        console.print(Text(f"and {left} more", MUTED))
    console.print()


def _setting(value: Any) -> Text:
    return Text("–", MUTED) if value is None else Text(plain(str(value), 60))


def _print_metrics(found: Comparison, console: Console) -> None:
    rows = [
        [plain(name), interval(old), interval(new), _change(name, old, new, found)]
        for name, old, new in found.metrics
        if old is not None and new is not None
    ]
    console.print(simple_table(("metric", "A", "B", "change"), rows))
    alone = [plain(name) for name, old, new in found.metrics if old is None or new is None]
    if alone:
        console.print(Text(f"on one side only: {', '.join(alone)}", MUTED))
    note = "small: 95 % intervals · apart: they do not overlap, coloured where better is known"
    console.print(Text(note, MUTED))
    console.print()


def _change(name: str, old: Mapping[str, Any], new: Mapping[str, Any], found: Comparison) -> Text:
    change = new["value"] - old["value"]
    shown = f"{'+' if change > 0 else '−' if change < 0 else ''}{number(abs(change))}"
    if None in (old.get("low"), old.get("high"), new.get("low"), new.get("high")):
        return Text(shown)
    apart = old["high"] < new["low"] or new["high"] < old["low"]
    if not apart:
        return Text(shown, MUTED)
    better = _better(name, found)
    style = "" if better is None else GOOD if (change < 0) == (better == "low") else BAD
    return Text.assemble((shown, style), (" apart", MUTED))


def _better(name: str, found: Comparison) -> str | None:
    """Which side of a metric is better, as far as the recipe or the metric's nature says.

    A metric of one tag is what that tag asks for, so neither side is better.
    """
    if ".tag." in name or name.startswith("tag_control"):
        return None
    if name.split(".")[0] == "perplexity":
        return "low"
    attribute = found.sides[1].evaluated.manifest.facts.get("attribute")
    judge = found.sides[1].evaluated.manifest.facts.get("judge")
    scores = found.sides[1].view.scores
    return scores.get(str(judge)) if name.split(".")[0] == attribute else None


def _print_paired(found: Comparison, console: Console) -> None:
    rows = []
    for pair in found.paired:
        estimate = pair.difference
        total = max(pair.improved + pair.worsened + pair.equal, 1)
        rows.append(
            [
                Text.assemble((plain(pair.scorer), STRONG), (f" {pair.better} is better", MUTED)),
                _difference(pair),
                f"{estimate.n:,}",
                Text.assemble((bar(pair.improved / total, 10), GOOD), f" {pair.improved:,}"),
                Text.assemble((bar(pair.worsened / total, 10), BAD), f" {pair.worsened:,}"),
                f"{pair.equal:,}",
            ]
        )
    header = ("prompt by prompt", "mean B − A", "prompts", "better", "worse", "equal")
    console.print(simple_table(header, rows, right=(2, 5)))
    console.print()


def _difference(pair: Paired) -> Text:
    estimate = pair.difference
    text = Text(f"{estimate.value:+.3f}")
    if math.isfinite(estimate.low):
        clear = estimate.low > 0 or estimate.high < 0
        good = (estimate.value < 0) == (pair.better == "low")
        text.stylize((GOOD if good else BAD) if clear else MUTED)
        text.append(f"  {estimate.low:+.3f} … {estimate.high:+.3f}", MUTED)
    return text


def _of(answer: Shown | None, value: float) -> str:
    """What the number is the mean of, where it is not the answer's own."""
    if answer is None or answer.among == 1:
        return ""
    return f"  mean of {answer.among}, this one {answer.score:.3f}"


def _movers(moved: Sequence[Moved], pair: Paired, width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False,
                  header_style=MUTED, border_style=MUTED)  # fmt: skip
    inner = (width - 6) // 3
    for name in ("prompt", "A", "B"):
        table.add_column(name, width=inner, overflow="fold")
    low, high = ends([value for item in moved for value in (item.before, item.after)])
    for item in moved:
        prompt = Text("\n").join(
            [lines(item.prompt or "", inner, 3), Text(plain(item.prompt_id), MUTED)]
        )
        cells = [
            Text("\n").join(
                [
                    score_text(value, pair.better, low, high).append(_of(answer, value), MUTED),
                    lines(answer.text if answer else "–", inner, 3),
                    Text(),
                ]
            )
            for value, answer in zip((item.before, item.after), item.answers, strict=True)
        ]
        table.add_row(prompt, *cells)
    return table
