"""Names that people give to phases, scorers and evaluations."""

from __future__ import annotations

import re

NAME = re.compile(r"[a-z][a-z0-9_]*")
LONGEST = 100
"""Characters of a name: it becomes part of the names of files, which have 255 bytes at most."""


def check_name(name: str) -> None:
    """Refuse (``ValueError``) what cannot name a phase, a scorer or an evaluation."""
    if not NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a name: a-z, 0-9 and _, starting with a letter")
    if len(name) > LONGEST:
        raise ValueError(f"a name has {len(name)} characters, the limit is {LONGEST}")
