"""Artifacts in words: what it is, how it was made, which settings matter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from stages.artifacts.provenance import POLICY, Artifact, Graph
from workflow.looking.terminal import count_of, plain

HIGHLIGHTS = (
    "data.source",
    "data.path",
    "policy.init",
    "policy.revision",
    "reward_model.features",
    "sample.engine",
    "sample.strategy",
    "sample.n",
    "sample.decoding.temperature",
    "sample.decoding.top_k",
    "sample.decoding.top_p",
    "sample.decoding.max_new_tokens",
    "tag.kind",
    "tag.quantiles",
    "tag.vocabulary",
    "tag.pool.keep",
    "update.kind",
    "update.steps",
    "update.batch_size",
    "update.optimizer.lr",
    "update.kl",
    "update.kl_direction",
    "update.entropy",
    "update.draw.kind",
    "evaluate.split",
    "evaluate.n",
    "evaluate.judge",
    "precision",
)
"""Settings that a person asks for first; those that a stage has are shown, in this order."""


def title(graph: Graph, name: str) -> str:
    """``samples of align round 2``, ``prompts train``, ``base policy``, ``scorer toxicity``."""
    artifact = graph.artifacts[name]
    phase, number_ = artifact.lineage.phase, artifact.lineage.round
    what = "evaluation" if artifact.kind == "metrics" else artifact.kind.replace("_", " ")
    if phase is not None:
        return f"{what} of {plain(phase)} round {number_}"
    if artifact.kind == POLICY:
        return "base policy"
    if artifact.kind == "reward_model":
        return f"scorer {plain(Path(name).parent.name)}"
    table = Path(name).stem
    return plain(table if table.startswith(what) else f"{what} {table}")


def extent(graph: Graph, artifact: Artifact) -> str:
    """How much there is of it: rows, or what became of a model's folder."""
    if artifact.manifest.stopped:
        return f"not made: {plain(artifact.manifest.stopped)}"
    if artifact.weights is None:
        return count_of(artifact.manifest.rows, "row")
    if artifact.weights in graph.removed:
        return "removed by keep"
    return plain(artifact.weights) if artifact.external else "weights here"


def making(artifact: Artifact) -> str:
    """Stage, the settings that matter most, and the hash of all of them."""
    lineage = artifact.lineage
    stage = f"{plain(lineage.stage)} v{lineage.stage_version}"
    hashed = f"settings {plain(lineage.settings_hash)}"
    return " · ".join([stage, *highlights(lineage.settings), hashed])


def highlights(settings: Mapping[str, Any]) -> list[str]:
    """The settings that matter most, of those that are set, a text for each section."""
    sections: dict[str, list[str]] = {}
    for key in HIGHLIGHTS:
        value = leaf(settings, key)
        if value is not None and not isinstance(value, Mapping):
            shown = f"{value:g}" if isinstance(value, float) else plain(str(value), 60)
            section, _, name = key.partition(".")
            name = name.split(".")[-1]
            told = shown if name in ("", "kind") else f"{name} {shown}"
            sections.setdefault(section, []).append(told)
    found = [f"{section} {', '.join(told)}" for section, told in sections.items()]
    scorers = settings.get("scorers")
    if isinstance(scorers, Mapping) and scorers:
        found.append(f"scorers {', '.join(plain(name) for name in scorers)}")
    return found


def leaf(settings: Mapping[str, Any], key: str) -> Any:
    """A setting by its dotted name; None where there is none."""
    value: Any = settings
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def short_digest(digest: str) -> str:
    """The first 12 digits of a digest, without its row count."""
    return plain(digest.split("-")[-1][:12])


def rounds_in_words(numbers: Sequence[int]) -> str:
    """``round 3``, ``rounds 1–3``, ``rounds 1, 2, 5``."""
    known = sorted(set(numbers))
    if len(known) == 1:
        return f"round {known[0]}"
    if known == list(range(known[0], known[-1] + 1)):
        return f"rounds {known[0]}–{known[-1]}"
    return f"rounds {', '.join(map(str, known))}"
