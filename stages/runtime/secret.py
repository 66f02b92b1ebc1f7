"""Secrets from the environment, which appear in no artifact, log, error or report."""

from __future__ import annotations

import os
from urllib.parse import quote

from stages.runtime.errors import UserError


class Secret:
    """A value that shows itself only where it is asked to, and that can be taken out of texts."""

    def __init__(self, name: str, value: str) -> None:
        self.name = name
        self._value = value

    def __repr__(self) -> str:
        return f"Secret({self.name})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError(f"{self!r} is not written anywhere")

    def reveal(self) -> str:
        """The value itself, for the one place that sends it."""
        return self._value

    def hide(self, text: str) -> str:
        """The text with its name in the place of the value, as it is or as it stands in a URL."""
        for shape in {self._value, quote(self._value, safe="")}:
            text = text.replace(shape, f"[{self.name}]")
        return text


def secret_from_environment(name: str, purpose: str) -> Secret:
    """The secret of an environment variable.

    UserError when it is not set, or holds what no HTTP header may: the library's own error would
    print the header with it.
    """
    value = os.environ.get(name, "").strip()
    if not value:
        raise UserError(f"no key for {purpose}", name, f"set the environment variable {name}")
    if not all(33 <= ord(character) <= 126 for character in value):
        raise UserError(
            f"the key for {purpose} holds a blank or a character that no key has",
            name,
            f"set the environment variable {name} to the key alone",
        )
    return Secret(name, value)
