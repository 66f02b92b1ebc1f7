"""One prompt through the rounds: all answers to it, with tags, scores and what became of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from stages.artifacts.provenance import Graph
from stages.artifacts.schemas import METRICS, PROMPTS, SAMPLES
from stages.runtime.errors import UserError
from workflow.looking.database import literal
from workflow.looking.page import Lookout, Query
from workflow.looking.place import Place, tables
from workflow.looking.table import simple_table
from workflow.looking.terminal import (
    BAD,
    MUTED,
    NAME,
    STRONG,
    ends,
    lines,
    plain,
    score_text,
    spark,
)
from workflow.looking.view import View
from workflow.looking.views import view_of

MOST_CANDIDATES = 20
NARROWEST = 26
LINES_OF_AN_ANSWER = 4
CUT = "✂"
COLUMNS = ("phase", "round", "source", "tag", "k", "response", "label", "drawn", "finish_reason",
           "sample_id")  # fmt: skip


@dataclass(frozen=True)
class Prompt:
    """A prompt and the table that holds it."""

    prompt_id: str
    text: str
    table: str


@dataclass(frozen=True)
class Followed:
    """All answers to a prompt, as rows; the columns of scorers with the side that is better."""

    prompt: Prompt
    rows: list[dict[str, Any]]
    scores: dict[str, Literal["low", "high"]] = field(default_factory=dict)

    def columns(self) -> tuple[str, ...]:
        """Columns of the rows."""
        return (*COLUMNS, *self.scores)


def find_prompt(graph: Graph, wanted: str) -> Prompt:
    """The prompt with an id, or the only one whose text holds some words."""
    found: list[Prompt] = []
    for name, artifact in graph.artifacts.items():
        files = tables(graph, name, PROMPTS) if artifact.kind == PROMPTS.name else ()
        if files:
            found += _prompts_with(files, wanted, name)
    exact = [prompt for prompt in found if wanted in (prompt.prompt_id, prompt.text)]
    if len({prompt.prompt_id for prompt in exact or found}) == 1:
        return (exact or found)[0]
    if not found:
        raise UserError("no such prompt", f"--prompt {wanted}", "give its id or words of its text")
    shown = "; ".join(f"{p.prompt_id} “{plain(p.text, 40)}”" for p in found[:5])
    many = f"{MOST_CANDIDATES} or more" if len(found) >= MOST_CANDIDATES else str(len(found))
    raise UserError(
        f"{many} prompts hold these words", f"--prompt {wanted}", f"give an id: {shown}"
    )


def follow(graph: Graph, prompt: Prompt, phase: str | None = None) -> Followed:
    """All answers to a prompt in a run or one of its phases, in the order of the rounds."""
    rows: list[dict[str, Any]] = []
    scores: dict[str, Literal["low", "high"]] = {}
    for name in graph.order():
        artifact = graph.artifacts[name]
        if artifact.kind not in (SAMPLES.name, METRICS.name) or phase not in (
            None,
            artifact.lineage.phase,
        ):
            continue
        files = tables(graph, name, SAMPLES)
        if files:
            view = view_of(Place(graph.root / name, graph, artifact, files, SAMPLES))
            source = "training" if artifact.kind == SAMPLES.name else "evaluation"
            rows += _answers(view, prompt.prompt_id, source)
            scores |= view.scores
    order = {"training": 0, "evaluation": 1}
    rows.sort(key=lambda r: (r["phase"], r["round"], order[r["source"]], r["quantiles"], r["k"]))
    return Followed(prompt, rows, scores)


def print_followed(
    found: Followed, rounds: Sequence[int], console: Console, limit: int = 4
) -> None:
    """The prompt, its mean scores by round, and its answers side by side."""
    head = Text.assemble((f"“{plain(found.prompt.text, 600)}”", STRONG))
    console.print(head)
    told = f"{found.prompt.prompt_id} of {found.prompt.table}"
    console.print(Text(plain(told), NAME))
    if not found.rows:
        console.print(Text("\nno answer to it in this run", MUTED))
        return
    for phase in dict.fromkeys(row["phase"] for row in found.rows):
        own = [row for row in found.rows if row["phase"] == phase]
        numbers = sorted({row["round"] for row in own})
        _print_means(phase, own, found, console)
        chosen, left = _chosen(numbers, rounds, console.width)
        for group in _groups(own):
            console.print(_side_by_side(group, chosen, found, console.width, limit))
        if any(row["finish_reason"] == "length" for row in own):
            console.print(Text(f"{CUT} ended by the limit of tokens", MUTED))
        if left:
            told = f"rounds {', '.join(map(str, left))} are not shown: --rounds chooses"
            console.print(Text(told, MUTED))


def _prompts_with(files: tuple[Any, ...], wanted: str, table: str) -> list[Prompt]:
    view = View(files, {"prompt_id": "prompt_id", "text": "text"}, ("prompt_id", "text"))
    with Lookout(view) as lookout:
        for where in (
            f"prompt_id = {literal(wanted)}",
            f"contains(lower(text), lower({literal(wanted)}))",
        ):
            page = lookout.page(Query((where,), limit=MOST_CANDIDATES))
            if page.rows:
                return [Prompt(row["prompt_id"], row["text"], table) for row in page.rows]
    return []


def _answers(view: View, prompt_id: str, source: str) -> list[dict[str, Any]]:
    names = set(view.names())
    columns = [name for name in (*COLUMNS, *view.scores) if name in names]
    query = Query((f"prompt_id = {literal(prompt_id)}",), None, (*columns, "quantiles"), None)
    with Lookout(view) as lookout:
        rows = lookout.page(query).rows
    return [{**dict.fromkeys(COLUMNS), **row, "source": source} for row in rows]


def _print_means(phase: str, rows: list[dict[str, Any]], found: Followed, console: Console) -> None:
    """Mean score by round of the answers on the best tag, or on none."""
    console.print()
    table_rows = []
    for source in ("training", "evaluation"):
        own = [row for row in rows if row["source"] == source and _on_best(row)]
        numbers = sorted({row["round"] for row in own})
        for scorer in found.scores:
            means = [_mean(row.get(scorer) for row in own if row["round"] == n) for n in numbers]
            if any(mean is not None for mean in means):
                told = "  ".join("–" if m is None else f"{m:.2f}" for m in means)
                table_rows.append(
                    [
                        f"{source}, {scorer}",
                        f"rounds {numbers[0]}–{numbers[-1]}",
                        told,
                        spark(means),
                    ]
                )
    header = (f"{plain(phase)}: mean score on the best tag", "", "by round", "")
    console.print(simple_table(header, table_rows) if table_rows else Text("no scores", MUTED))
    console.print()


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _on_best(row: dict[str, Any]) -> bool:
    return not any(row["quantiles"] or ())


def _groups(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Answers of one source on one tag; those on the best tag and those on none are together."""
    groups: dict[tuple[str, tuple[int, ...]], list[dict[str, Any]]] = {}
    for row in rows:
        tag = () if _on_best(row) else tuple(row["quantiles"])
        groups.setdefault((row["source"], tag), []).append(row)
    return [groups[key] for key in sorted(groups, key=lambda key: (key[0] != "evaluation", key))]


def _chosen(
    numbers: Sequence[int], asked: Sequence[int], width: int
) -> tuple[list[int], list[int]]:
    """As many rounds as find room, those asked for or evenly spread, and the others."""
    room = max(width // NARROWEST, 1)
    wanted = [number for number in numbers if number in asked] if asked else list(numbers)
    if len(wanted) > room:
        places = [round(i * (len(wanted) - 1) / max(room - 1, 1)) for i in range(room)]
        wanted = [wanted[place] for place in places]
    return wanted, [number for number in numbers if number not in wanted]


def _side_by_side(
    group: list[dict[str, Any]], rounds: Sequence[int], found: Followed, width: int, limit: int
) -> Table:
    shown = [number for number in rounds if any(row["round"] == number for row in group)]
    inner = (width - 3 * len(rounds)) // max(len(rounds), 1)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, show_edge=False,
                  header_style=MUTED, border_style=MUTED, show_lines=False,
                  title=_group_title(group), title_justify="left", title_style="")  # fmt: skip
    for number in shown:
        table.add_column(f"round {number}", width=inner, overflow="fold", vertical="top")
    by_round = [[row for row in group if row["round"] == number] for number in shown]
    scale = {name: ends([row.get(name) for row in found.rows]) for name in found.scores}
    most = max(map(len, by_round), default=0)
    for place in range(min(most, limit)):
        cells = [
            _answer(own[place], found, scale, inner) if place < len(own) else Text()
            for own in by_round
        ]
        table.add_row(*cells)
    if most > limit:
        table.add_row(*(Text(f"… {len(own) - limit} more" if len(own) > limit else "", MUTED)
                        for own in by_round))  # fmt: skip
    return table


def _group_title(group: list[dict[str, Any]]) -> Text:
    tags = list(dict.fromkeys(row["tag"] for row in group))
    named = " or ".join("no tag" if tag is None else f"“{plain(tag.strip(), 60)}”" for tag in tags)
    return Text.assemble((f"{group[0]['source']}", STRONG), (f" on {named}", MUTED))


def _answer(
    row: dict[str, Any], found: Followed, scale: dict[str, tuple[float, float]], width: int
) -> Text:
    head = Text()
    for scorer, better in found.scores.items():
        if row.get(scorer) is not None:
            head.append_text(score_text(row[scorer], better, *scale[scorer]))
            head.append(f" {plain(scorer)}  " if len(found.scores) > 1 else "  ", MUTED)
    if row.get("label"):
        head.append(f"→ {plain(row['label'].strip(), 40)}  ", MUTED)
    if row.get("drawn"):
        head.append(f"learned {row['drawn']}×  ", MUTED)
    text = lines(row["response"] or "", width - 2, LINES_OF_AN_ANSWER)
    if row.get("finish_reason") == "length":
        text.append(f" {CUT}", BAD)
    return Text("\n").join([head, text, Text("")])
