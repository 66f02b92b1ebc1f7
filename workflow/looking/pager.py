"""Pages turned by hand: one page on the screen, one letter for what comes next."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace

from rich.console import Console
from rich.text import Text

from stages.runtime.errors import UserError
from workflow.looking.browse import Wish, print_page, print_row
from workflow.looking.follow import find_prompt, follow, print_followed
from workflow.looking.header import print_header, print_schema
from workflow.looking.page import Lookout
from workflow.looking.place import Place
from workflow.looking.terminal import BAD, MUTED
from workflow.looking.view import View

KEYS = (
    ("Enter", "next page"),
    ("b", "page before"),
    ("/EXPR", "keep rows that match an SQL expression; / alone keeps all"),
    ("s COLUMN", "sort, as `s toxicity desc`; s alone as stored"),
    ("c A,B", "columns; c alone as before"),
    ("NUMBER", "that row of the page in full"),
    ("f NUMBER", "follow that row's prompt through the rounds"),
    ("g NUMBER", "go to a row of the table"),
    ("d", "columns that there are"),
    ("q", "leave"),
)
ROOM_OUTSIDE = 9
"""Lines of a page that hold no rows."""


class Pager:
    """Shows pages of a view until the person has seen enough.

    ``ask`` shows a question and gives what was typed; it raises EOFError at the end.
    """

    def __init__(
        self,
        place: Place,
        view: View,
        lookout: Lookout,
        wish: Wish,
        console: Console,
        ask: Callable[[str], str] = input,
    ) -> None:
        self.place, self.view, self.lookout = place, view, lookout
        self.console, self.ask, self.first = console, ask, wish
        fitting = max((console.height - ROOM_OUTSIDE) // max(wish.lines, 1), 3)
        limit = min(wish.query.limit or fitting, fitting)
        self.wish = replace(wish, query=replace(wish.query, limit=limit))

    def run(self) -> None:
        """Until q or the end of the input."""
        found = self.lookout.page(self.wish.query)
        print_header(self.place, found.total, self.console)
        print_page(found, self.view, self.wish, self.console)
        with contextlib.suppress(EOFError, KeyboardInterrupt):
            while (typed := self.ask("Enter next · b back · /filter · ? keys · q quit > ")) != "q":
                try:
                    self._do(typed.strip())
                except UserError as error:
                    self.console.print(Text(error.line(), BAD))

    def _do(self, typed: str) -> None:
        query, size = self.wish.query, self.wish.query.limit or 1
        word, _, rest = typed.partition(" ")
        if typed == "":
            self._turn(query.offset + size)
        elif typed == "b":
            self._turn(max(query.offset - size, 0))
        elif typed.startswith("/"):
            where = (*self.first.query.where, typed[1:].strip())
            self._ask_for(where=tuple(filter(None, where)), offset=0)
        elif word == "s":
            self._ask_for(sort=rest.strip() or None, offset=0)
        elif word == "c":
            asked = tuple(name.strip() for name in rest.split(",") if name.strip())
            self._ask_for(columns=asked or self.first.query.columns)
        elif word == "g" and rest.strip().isdigit():
            self._turn(max(int(rest) - 1, 0))
        elif word == "f" and rest.strip().isdigit():
            self._follow(int(rest))
        elif typed.isdigit():
            self._open(int(typed))
        elif typed == "d":
            print_schema(self.place, self.view, self.lookout, self.console)
        else:
            for key, what in KEYS:
                self.console.print(Text.assemble(f"{key:<10}", (what, MUTED)))

    def _ask_for(self, **changes: object) -> None:
        """Try another query; the old one stays if it is refused."""
        before = self.wish
        self.wish = replace(before, query=replace(before.query, **changes))  # type: ignore[arg-type]
        try:
            self._show()
        except UserError:
            self.wish = before
            raise

    def _turn(self, offset: int) -> None:
        last = self.lookout.page(replace(self.wish.query, limit=1, columns=())).matching
        if offset >= last:
            self.console.print(Text("there are no more rows", MUTED))
            return
        self._ask_for(offset=offset)

    def _show(self) -> None:
        print_page(self.lookout.page(self.wish.query), self.view, self.wish, self.console)

    def _row(self, number: int) -> dict[str, object]:
        """A row of the page, counted from 1, with all columns."""
        query = self.wish.query
        wanted = replace(query, columns=("*",), limit=1, offset=query.offset + number - 1)
        rows = self.lookout.page(wanted).rows if 1 <= number <= (query.limit or 1) else []
        if not rows:
            raise UserError(f"no row {number} on this page", "typed", "rows count from 1")
        return rows[0]

    def _open(self, number: int) -> None:
        names = tuple(self.view.names())
        row = self._row(number)
        print_row(row, names, self.view, max(map(len, names)), self.console)

    def _follow(self, number: int) -> None:
        column = self.view.prompt
        prompt_id = self._row(number).get(column) if column else None
        if prompt_id is None or self.place.graph is None:
            raise UserError("this row belongs to no prompt of a run", "typed", "? lists the keys")
        artifact = self.place.artifact
        phase = artifact.lineage.phase if artifact is not None else None
        found = follow(self.place.graph, find_prompt(self.place.graph, str(prompt_id)), phase)
        print_followed(found, (), self.console)


def turn_pages(place: Place, view: View, lookout: Lookout, wish: Wish, console: Console) -> None:
    """Turn pages on a terminal, with the editing keys of a shell where there are any."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401
    Pager(place, view, lookout, wish, console).run()
