"""All policies of a run with several phases, those with one start together."""

from __future__ import annotations

from collections.abc import Iterator

from stages.reporting.rival_tables import columns, effort_rows, outcome_rows
from stages.reporting.rivals import MAY_BE_FURTHER, SUM, contest, policies, rival_sentences
from stages.reporting.run_data import RunData
from stages.reporting.sections.section import Section


def side_by_side(run: RunData) -> Iterator[Section]:
    """The section; none for a run of one phase."""
    phases = [phase for phase in run.phases if phase.rounds]
    if len(phases) < 2:
        return
    found, goals = policies(run), phases[-1].goals
    shown = columns(found, goals)
    heads, took = effort_rows(found)
    further = [
        name
        for name, by_round in phases[-1].also.items()
        for metric in MAY_BE_FURTHER
        if any(metric in values for values in by_round.values())
        and metric not in phases[-1].last.metrics
    ]
    context = {
        "findings": rival_sentences(found, contest(phases)),
        "columns": shown,
        "outcomes": outcome_rows(found, shown),
        "effort_heads": heads,
        "efforts": took,
        "units": [(column.head, column.what) for column in shown if column.what],
        "summed": any(column.metric == SUM for column in shown),
        "further": next(iter(further), None),
    }
    yield Section("rivals", "Side by side", "rivals.html", context)
