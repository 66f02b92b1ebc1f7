"""How a stage ends when it cannot go on: one clear line and an exit code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stages.runtime.inert import one_line

EXIT_OK = 0
EXIT_FAILURE = 1
EXIT_USER = 2
EXIT_PREEMPTED = 75


class UserError(Exception):
    """A mistake that the user can mend: what is wrong, where, and how to mend it.

    Prints as one line ``what (where): mend`` and ends the process with exit code 2.
    """

    def __init__(self, what: str, where: str | Path | None = None, mend: str | None = None) -> None:
        self.what = one_line(what)
        self.where = None if where is None else one_line(str(where))
        self.mend = None if mend is None else one_line(mend)
        super().__init__(self.line())

    def line(self) -> str:
        """The error as the one line that the user sees."""
        place = f" ({self.where})" if self.where else ""
        mend = f": {self.mend}" if self.mend else ""
        return f"{self.what}{place}{mend}"


class Unavailable(Exception):  # noqa: N818 - nothing is wrong here
    """Something outside does not answer and may come back: one line, exit code 1, no record.

    Unlike a :class:`UserError` it is worth a retry with nothing changed.
    """

    def __init__(self, what: str) -> None:
        super().__init__(one_line(what))


@dataclass(frozen=True)
class End:
    """How a process ends: its exit code, and its last words."""

    code: int
    words: str = ""


class Preempted(Exception):  # noqa: N818 - no error: the work is saved
    """The process was asked to stop, has saved its work, and leaves with exit code 75."""
