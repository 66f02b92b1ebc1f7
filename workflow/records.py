"""What Snakemake would keep though the recipe has changed, since it has no record of its making.

Snakemake holds a job's parameters against those in its records below ``.snakemake``. Where a run's
folder was carried elsewhere without them it goes by dates alone, and a changed setting would change
nothing, in silence.
"""

from __future__ import annotations

import os
import re
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.artifacts.manifest import is_manifest
from stages.artifacts.provenance import ORIGIN, json_files
from stages.runtime.atomic import read_json
from stages.runtime.errors import UserError
from stages.runtime.hashing import settings_hash
from stages.settings.recipe import Recipe
from stages.settings.subsets import stage_settings
from workflow.identity import differences

RECORDS = Path(".snakemake")
"""Where Snakemake keeps its records, from where it runs."""
PHASE = r"phases/(?P<phase>\w+)/r\d+"
MADE_BY = {
    r"data/(?P<name>[\w.]+)\.json": ("prepare_prompts",),
    r"base/policy\.json": ("adopt_policy", "train_base_model"),
    r"reward_models/(?P<name>\w+)/comparisons\.json": ("build_comparisons",),
    r"reward_models/(?P<name>\w+)/model\.json": ("train_reward_model",),
    rf"{PHASE}/samples/part-\d+-of-\d+\.json": ("sample",),
    rf"{PHASE}/scores/part-\d+-of-\d+\.json": ("score",),
    rf"{PHASE}/pool\.json": ("tag",),
    rf"{PHASE}/policy\.json": ("update_policy",),
    rf"{PHASE}/evaluation\.json": ("evaluate",),
    rf"{PHASE}/also/(?P<name>\w+)\.json": ("evaluate",),
}
"""Which stage makes a manifest, by its place below the run's folder (workflow/rules)."""
MOST_TOLD = 3


def check_records(recipe: Recipe, root: Path, records: Path = RECORDS) -> None:
    """Raise a UserError for artifacts of other settings that Snakemake would take as they are.

    What follows from an artifact that is gone, that was made later or that is told here is made
    again anyway.
    """
    if not root.is_dir() or (records / "metadata.db").exists():
        return
    known = {*_recorded(records / "metadata"), *_recorded(records / "incomplete")}
    made = Made(root)
    changed = {
        place: words
        for place in made.places
        if os.path.normpath(root / place) not in known
        and (words := _changed(recipe, place, made.lineage(place)))
    }
    first = [place for place in changed if not made.again(place, changed)]
    if not first:
        return
    words = changed[first[0]]
    told = "; ".join(words[:MOST_TOLD]) + ("; …" if len(words) > MOST_TOLD else "")
    raise UserError(
        f"made with other settings ({told}), and Snakemake has no record of it here",
        root / first[0],
        f"to have it made again, rm {' '.join(str(root / place) for place in first)}; or undo the "
        f"change, or bring {records / 'metadata'} along with the run's folder",
    )


def _recorded(folder: Path) -> Iterator[str]:
    """The places of which there are records, or jobs that were cut off and will run again.

    Names of records are these places in base64, cut into folders ``@…`` where they are long.
    """
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        code = "".join(part.removeprefix("@") for part in parts)
        try:
            place = urlsafe_b64decode(code).decode()
        except ValueError:  # a folder of a long name, or a file of somebody else
            continue
        yield os.path.normpath(place)


def _changed(recipe: Recipe, place: str, lineage: dict[str, Any]) -> list[str]:
    """In words, which settings the recipe has otherwise; of what it no longer asks for, none."""
    asked = _asked(recipe, place, lineage)
    if asked is None or settings_hash(asked) == lineage["settings_hash"]:
        return []
    was = differences("", lineage["settings"], asked)
    return [f"{key.lstrip('.')} was {old!r}, is {new!r}" for key, old, new in was]


def _asked(recipe: Recipe, place: str, lineage: dict[str, Any]) -> dict[str, Any] | None:
    """The settings with which a manifest's stage would make it now; None if none would."""
    for pattern, stages in MADE_BY.items():
        found = re.fullmatch(pattern, place)
        if found is None or lineage["stage"] not in stages:
            continue
        stage, phase = lineage["stage"], found.groupdict().get("phase")
        name = found.groupdict().get("name")
        if not _has(recipe, stage, phase, name):
            return None
        try:
            return stage_settings(recipe, stage, phase, name)
        except UserError:  # the recipe has no such table or model any more
            return None
    return None


def _has(recipe: Recipe, stage: str, phase: str | None, name: str | None) -> bool:
    """Whether the recipe has the phase, table or evaluation that a stage works on."""
    if phase is not None:
        settings = recipe.phases.get(phase)
        parts = {"sample": "sampled", "score": "sampled", "tag": "tag"}
        if settings is None or (stage in parts and not getattr(settings, parts[stage])):
            return False
    if stage == "evaluate" and name is not None:
        return name in recipe.evaluate.also
    if stage == "prepare_prompts" and str(name).startswith("demonstrations"):
        return name in recipe.demonstrations()
    return True


@dataclass
class Made:
    """The manifests of a run, each read once; a damaged one is told by who reads it."""

    root: Path
    places: list[str] = field(init=False)
    _read: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for path in json_files(self.root):
            try:
                value = read_json(path, "manifest")
            except UserError:
                continue
            if is_manifest(value):
                self._read[path.relative_to(self.root).as_posix()] = value
        self.places = list(self._read)

    def lineage(self, place: str) -> dict[str, Any]:
        """How it was made."""
        lineage: dict[str, Any] = self._read[place]["lineage"]
        return lineage

    def sources(self, place: str) -> list[str]:
        """What it was made from; a note that hands a policy on is made from that policy."""
        if place not in self._read:
            return []
        origin = self._read[place].get("facts", {}).get(ORIGIN)
        if origin is not None:
            return [str(origin)]
        return [str(ref["path"]) for ref in self.lineage(place)["inputs"]]

    def again(self, place: str, changed: dict[str, list[str]]) -> bool:
        """Whether something that an artifact came from is gone, changed or younger than it."""
        waiting, seen = [place], {place}
        while waiting:
            at = waiting.pop()
            for source in self.sources(at):
                path = self.root / source
                if source in changed or not path.exists():
                    return True
                if path.stat().st_mtime > (self.root / at).stat().st_mtime:
                    return True
                if source not in seen:
                    seen.add(source)
                    waiting.append(source)
        return False
