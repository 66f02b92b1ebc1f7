"""The environment that the rules' commands inherit."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

INVOCATION = "RONDO_INVOCATION"


def prepare_environment() -> None:
    """Let rules run the Python that Snakemake runs on, and know which run started them.

    Snakemake calls ``python`` by name; without an activated environment that would be another
    one. A rule with an environment of its own (``--sdm conda``) still comes first on the path.
    """
    here = str(Path(sys.executable).parent)
    parts = os.environ.get("PATH", "").split(os.pathsep)
    if here not in parts:
        os.environ["PATH"] = os.pathsep.join([here, *parts])
    os.environ.setdefault(INVOCATION, f"{os.getpid()}-{int(time.time())}")
