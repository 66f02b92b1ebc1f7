"""What was left out of a table or looked odd, with its reason: nothing is dropped unseen."""

from __future__ import annotations

from collections import Counter
from typing import Any

from stages.runtime.events import event, warning

SHOWN = 3


class Notes:
    """Counts by reason; the first places of each are shown in the log."""

    def __init__(self) -> None:
        self.left_out: Counter[str] = Counter()
        self.noticed: Counter[str] = Counter()
        self._places: dict[str, list[str]] = {}

    def leave_out(self, reason: str, place: str) -> None:
        """Count something that goes into no table."""
        self.left_out[reason] += 1
        self._remember(reason, place)

    def notice(self, reason: str, place: str) -> None:
        """Count something that a person may want to look at; it stays in the table."""
        self.noticed[reason] += 1
        self._remember(reason, place)

    def facts(self) -> dict[str, Any]:
        """The counts, for a manifest: equal for equal data, wherever it stands."""
        return {"left_out": dict(self.left_out), "noticed": dict(self.noticed)}

    def report(self) -> None:
        """Log one line for each reason, with the first places."""
        for reason, count in self.left_out.items():
            warning("left_out", reason=reason, count=count, first=self._places[reason])
        for reason, count in self.noticed.items():
            event("noticed", reason=reason, count=count, first=self._places[reason])

    def _remember(self, reason: str, place: str) -> None:
        places = self._places.setdefault(reason, [])
        if len(places) < SHOWN:
            places.append(place)
