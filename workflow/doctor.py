"""Installed versions against the pins: the one stack that works together."""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass
from pathlib import Path

PINS = Path(__file__).resolve().parents[1] / "envs" / "cpu.txt"
WATCHED = (
    "torch",
    "transformers",
    "accelerate",
    "peft",
    "datasets",
    "pandas",
    "pyarrow",
    "spacy",
    "snakemake",
    "snakemake-executor-plugin-slurm",
)


@dataclass(frozen=True)
class Finding:
    """One package: the pinned version and the one that is there."""

    package: str
    wanted: str
    installed: str | None

    @property
    def good(self) -> bool:
        """Whether they agree; a local build such as ``2.13.0+cpu`` is the same version."""
        return self.installed is not None and self.installed.split("+")[0] == self.wanted


def findings(pins: Path = PINS) -> list[Finding]:
    """The packages whose versions pull apart, in the order of the table."""
    wanted = dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", pins.read_text(), re.MULTILINE))
    return [Finding(name, wanted[name], _installed(name)) for name in WATCHED if name in wanted]


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
