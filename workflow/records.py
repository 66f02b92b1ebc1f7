"""What Snakemake would keep though the recipe has changed, since it has no record of its making.

Snakemake holds a job's parameters against those in its records below ``.snakemake``. Where a run's
folder was carried elsewhere without them it goes by dates alone, and a changed setting would change
nothing, in silence.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stages.artifacts.manifest import is_manifest
from stages.artifacts.provenance import json_files
from stages.runtime.atomic import read_json
from stages.runtime.errors import UserError
from stages.runtime.hashing import settings_hash
from stages.settings.recipe import Recipe
from stages.settings.subsets import STAGE_VERSIONS, stage_settings
from workflow.identity import differences

RECORDS = Path(".snakemake")
"""Where Snakemake keeps its records, from where it runs."""
MOST_TOLD = 3


def check_records(recipe: Recipe, root: Path, records: Path = RECORDS) -> None:
    """Raise a UserError for artifacts of other settings that Snakemake would take as they are.

    What follows from an artifact that is gone, or that was made later, is made again anyway.
    """
    if not root.is_dir() or (records / "metadata.db").exists():
        return
    known = {*_recorded(records / "metadata"), *_recorded(records / "incomplete")}
    found = dict(_manifests(root, known))
    for path, lineage in found.items():
        changed = _changed(recipe, path, lineage)
        if changed and not _made_again(path, root, found):
            told = "; ".join(changed[:MOST_TOLD]) + ("; …" if len(changed) > MOST_TOLD else "")
            raise UserError(
                f"made with other settings ({told}), and Snakemake has no record of it here",
                path,
                "remove it to have it made again with all that follows, undo the change, or bring"
                f" {records / 'metadata'} along with the run's folder",
            )


def _recorded(folder: Path) -> Iterator[str]:
    """The places of which there are records, or jobs that were cut off and will run again.

    Names of records are these places in base64, cut into folders ``@…`` where they are long.
    """
    for path in folder.rglob("*"):
        if path.is_file():
            parts = path.relative_to(folder).parts
            code = "".join(part.removeprefix("@") for part in parts)
            yield urlsafe_b64decode(code).decode(errors="replace")


def _manifests(root: Path, known: set[str]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Lineages of the manifests without a record, those of stages alone; a damaged one is told by
    who reads it."""
    for path in json_files(root):
        if str(path) in known:
            continue
        try:
            value = read_json(path, "manifest")
        except UserError:
            continue
        if is_manifest(value) and value["lineage"].get("stage") in STAGE_VERSIONS:
            yield path, value["lineage"]


def _changed(recipe: Recipe, path: Path, lineage: dict[str, Any]) -> list[str]:
    """In words, which settings the recipe has otherwise; of what it no longer asks for, none."""
    stage, phase, name = lineage["stage"], lineage["phase"], _name(lineage["stage"], path)
    if phase is not None and phase not in recipe.phases:
        return []
    if stage == "evaluate" and name is not None and name not in recipe.evaluate.also:
        return []
    try:
        now = stage_settings(recipe, stage, phase, name)
    except UserError:  # the recipe has no such table or model any more
        return []
    if settings_hash(now) == lineage["settings_hash"]:
        return []
    was = differences("", lineage["settings"], now)
    return [f"{key.lstrip('.')} was {old!r}, is {new!r}" for key, old, new in was]


def _name(stage: str, path: Path) -> str | None:
    """The ``name`` under which a stage's settings were asked for."""
    if stage == "prepare_prompts":
        return path.stem
    if stage == "evaluate":
        return path.stem if path.parent.name == "also" else None
    return path.parent.name if stage in ("build_comparisons", "train_reward_model") else None


def _made_again(path: Path, root: Path, found: dict[Path, dict[str, Any]]) -> bool:
    """Whether something that an artifact came from is gone or younger than what it became."""
    waiting, seen = [path], {path}
    while waiting:
        at = waiting.pop()
        for ref in found[at]["inputs"] if at in found else ():
            source = root / ref["path"]
            if not source.exists() or source.stat().st_mtime > at.stat().st_mtime:
                return True
            if source not in seen:
                seen.add(source)
                waiting.append(source)
    return False
