"""The architectures that the installed transformers knows, without importing it (or torch)."""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

FILES = ("models/auto/auto_mappings.py", "models/auto/configuration_auto.py")
"""Where the library lists its model types, by release in the one or the other."""
_TYPE = re.compile(r'(?:\("([\w.-]+)", |"([\w.-]+)": )"\w+Config"')


@cache
def known_architectures() -> frozenset[str]:
    """Names of model types; empty where the library, or its list, is not found.

    The stage that builds the model asks the library itself: this only spares the wait for it.
    """
    spec = find_spec("transformers")
    if spec is None or spec.origin is None:
        return frozenset()
    files = [Path(spec.origin).parent / name for name in FILES]
    texts = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    return frozenset(a or b for text in texts for a, b in _TYPE.findall(text))
