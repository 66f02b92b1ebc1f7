"""Policies as manifests: where the model folder is, and whether it is still there."""

from __future__ import annotations

from pathlib import Path

from stages.artifacts.manifest import Manifest, read_manifest
from stages.runtime.errors import UserError

KIND = "policy"
WORLD = Path(__file__).resolve().parents[2] / "data" / "world"
EMBEDDED = WORLD / "base_model"
SHIPPED = {"embedded": EMBEDDED, "embedded-reader": WORLD / "reader_model"}
"""The base models of the embedded world that this project ships, by the name of `policy.init`: one
that goes on with comments, and an encoder-decoder that answers questions from passages."""


def read_policy(path: Path) -> Manifest:
    """Read a policy's manifest."""
    return read_manifest(path, KIND)


def policy_folder(policy: Manifest, run_folder: Path) -> str:
    """The model folder, or hub name, of a policy.

    A policy that Rondo trained stands below the run's folder, any other where it always stood.
    """
    place = str(policy.facts["folder"])
    if place in SHIPPED:
        return str(SHIPPED[place])
    if policy.facts["external"]:
        return place
    folder = run_folder / place
    if not folder.is_dir():
        raise UserError(
            "the weights of this policy are gone",
            folder,
            "`keep` removed them when the run was done; delete its policy.json and run again",
        )
    return str(folder)


def inside_run(folder: Path, run_folder: Path) -> dict[str, object]:
    """Facts of a model that stands below the run's folder."""
    return {"folder": folder.relative_to(run_folder).as_posix(), "external": False}
