"""The pool in numbers: by round of origin and quantile, and the edges of its quantiles."""

from __future__ import annotations

from stages.reporting.run_data import Edge, Phase, evenly
from stages.reporting.tables import Table
from stages.reporting.words import number, percent

ROWS = 12
"""Most rounds that a table shows."""


def composition(phase: Phase) -> Table | None:
    """The last pool by the round that sampled its answers.

    What a round sampled and what has no score are counted from its own pool, where nothing of it
    can have been dropped yet.
    """
    pools = {r.number: r for r in phase.rounds if r.pool_rounds and r.sampled is not None}
    if not pools:
        return None
    now, last = max(pools), pools[max(pools)]
    drawn = last.learning.drawn if last.learning else {}
    total = sum(own.draws for own in drawn.values())
    quantiles = max(map(len, last.pool_shares.values()), default=0)
    heads = ["sampled in", "answers", "without score", "dropped since", "in the pool"]
    heads += [f"quantile {q}" for q in range(quantiles)]
    heads += ["weight"] * (phase.half_life is not None) + ["share of draws"] * bool(drawn)
    rows = []
    for birth, own in evenly(list(pools.items()), ROWS):
        assert own.sampled is not None
        scored, held = own.pool_rounds.get(birth, 0), last.pool_rounds.get(birth, 0)
        row = [f"round {birth}", f"{own.sampled.answers:,}"]
        row += [f"{own.sampled.answers - scored:,}", f"{scored - held:,}", f"{held:,}"]
        shares = last.pool_shares.get(birth) or (0,) * quantiles
        row += [f"{cell:,}" for cell in shares]
        if phase.half_life is not None:
            row.append(number(2.0 ** ((birth - now) / phase.half_life)))
        if drawn:
            row.append(percent(drawn[birth].draws / total) if birth in drawn else "0 %")
        rows.append(tuple(row))
    return Table(tuple(heads), tuple(rows))


def edge_tables(phase: Phase) -> dict[str, Table]:
    """For each attribute: by round, where each quantile begins and ends, best first."""
    shown = evenly([r for r in phase.rounds if r.edges], ROWS)
    found = {}
    for attribute in dict.fromkeys(edge.attribute for r in shown for edge in r.edges):
        by_round = {
            r.number: {edge.quantile: edge for edge in r.edges if edge.attribute == attribute}
            for r in shown
        }
        count = 1 + max(quantile for edges in by_round.values() for quantile in edges)
        rows = [
            (f"round {birth}", *(_range(edges.get(quantile)) for quantile in range(count)))
            for birth, edges in by_round.items()
        ]
        heads = ("", *(f"quantile {quantile}" for quantile in range(count)))
        found[attribute] = Table(heads, tuple(rows))
    return found


def _range(edge: Edge | None) -> str:
    if edge is None or edge.low is None or edge.high is None:
        return "empty"
    return f"{number(edge.low)} – {number(edge.high)}"
