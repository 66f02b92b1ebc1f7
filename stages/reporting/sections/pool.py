"""What the policy learns from: scores, quantile edges, what the pool holds, what is drawn."""

from __future__ import annotations

from collections.abc import Iterator

from stages.reporting.gallery import Gallery
from stages.reporting.pool_tables import composition, edge_tables
from stages.reporting.run_data import Phase, RunData
from stages.reporting.sections.section import Section


def pool(run: RunData, phase: Phase, gallery: Gallery) -> Iterator[Section]:
    """The section of a phase's pool."""
    drawn = gallery.of(phase, "scores", "edges", "pool", "births", "draws")
    if drawn:
        context = {
            "drawings": drawn,
            "composition": composition(phase),
            "edges": edge_tables(phase),
        }
        yield Section("pool", "What the policy learns from", "pool.html", context)
