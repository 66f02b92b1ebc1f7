"""What every stage does around its work: settings, inputs, lock, key, record, manifest.

A job is known by its key: a hash of its settings and of the digests of its inputs. Equal key,
equal result: a second copy of a running job waits and then finds the work done, a scratch folder
of another key is wiped, and a mistake that cannot mend itself is not tried twice.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from stages.artifacts.digest import ContentDigest
from stages.artifacts.lineage import InputRef, Lineage, code_version, library_versions
from stages.artifacts.manifest import Manifest, read_manifest, relative, write_manifest
from stages.artifacts.store import TableReader
from stages.runtime import ranks
from stages.runtime.atomic import read_json, write_json, write_text
from stages.runtime.errors import UserError
from stages.runtime.events import event
from stages.runtime.hashing import (
    checksums_digest,
    file_digest,
    folder_checksums,
    settings_hash,
)
from stages.runtime.process import INVOCATION
from stages.settings.recipe import Recipe, load_recipe
from stages.settings.subsets import STAGE_VERSIONS, stage_settings

Inputs = Mapping[str, Path | Sequence[Path]]


@dataclass
class Job:
    """One stage at work on one output manifest."""

    stage: str
    recipe: Recipe
    settings: dict[str, Any]
    out: Path
    run_folder: Path
    phase: str | None
    round: int | None
    inputs: tuple[InputRef, ...]
    key: str
    done: bool = False
    """Whether the output stands already, made from equal inputs and settings."""
    leads: bool = True
    """Whether this process writes: the only one, or the first of several (runtime/ranks.py)."""
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        """Scratch folder of this output: chunks and checkpoints to resume from."""
        return self.out.parent / f".work-{self.stage}-{self.out.stem}"

    def lineage(self, model: str | None = None) -> Lineage:
        """The footer of what this job makes."""
        return Lineage(
            stage=self.stage,
            stage_version=STAGE_VERSIONS[self.stage],
            run=self.recipe.run,
            phase=self.phase,
            round=self.round,
            settings=self.settings,
            settings_hash=settings_hash(self.settings),
            seed=self.recipe.seed,
            inputs=self.inputs,
            model=model,
            libraries=library_versions(),
            code=code_version(),
        )

    def finish(
        self,
        kind: str,
        digest: str,
        files: Sequence[Path],
        rows: int = 0,
        counters: Mapping[str, int] | None = None,
        facts: Mapping[str, Any] | None = None,
        stopped: str | None = None,
        model: str | None = None,
        beside: Sequence[Path] = (),
        checksums: Mapping[str, str] | None = None,
    ) -> None:
        """Write the manifest, the last thing a job does, and remove the scratch folder.

        ``files`` are the parts of the table, ``beside`` other files that were made with it;
        ``checksums`` are known already, by place relative to the manifest. Of several processes
        the leader does it; for the others this is nothing.
        """
        if not self.leads:
            return
        names = tuple(relative(file, self.out) for file in files)
        sums = {relative(file, self.out): file_digest(file) for file in (*files, *beside)}
        write_manifest(
            self.out,
            Manifest(
                kind=kind,
                digest=digest,
                files=names,
                lineage=self.lineage(model),
                rows=rows,
                counters=dict(counters or {}),
                facts=dict(facts or {}),
                stopped=stopped,
                checksums={**sums, **(checksums or {})},
            ),
        )
        shutil.rmtree(self.work, ignore_errors=True)
        event("finished", out=str(self.out), rows=rows, **dict(counters or {}))

    def finish_model(
        self, kind: str, folder: Path, files: Sequence[Path] = (), **more: Any
    ) -> None:
        """Write the manifest of a model folder, whose digest is that of its files."""
        sums = folder_checksums(folder)
        place = relative(folder, self.out)
        self.finish(
            kind,
            checksums_digest(sums),
            files,
            checksums={f"{place}/{name}": digest for name, digest in sums.items()},
            **more,
        )

    def pass_by(self, kind: str, reason: str) -> None:
        """Write the manifest of a round that does no work because its phase has stopped."""
        self.finish(kind, str(ContentDigest()), [], stopped=reason)


@contextlib.contextmanager
def stage_job(
    stage: str,
    recipe_path: Path,
    out: Path,
    inputs: Inputs | None = None,
    phase: str | None = None,
    number: int | None = None,
    name: str | None = None,
    several: bool = False,
) -> Iterator[Job]:
    """Prepare a job; hold the lock on its output; keep the record of a permanent failure.

    ``phase`` and ``number`` (the round) for stages of a round, ``name`` as in
    :func:`stage_settings`. ``several``: the stage can be several processes, of which only the one
    with ``job.leads`` writes. The body must look at ``job.done`` first.
    """
    if ranks.several() and not several:
        raise UserError(
            f"stage {stage} is one process, and several were started",
            None,
            "start one; work that has shards is divided by them",
        )
    recipe = load_recipe(recipe_path)
    if phase is not None and phase not in recipe.phases:
        raise UserError(f"no phase {phase!r}", recipe_path, f"there are {sorted(recipe.phases)}")
    settings = stage_settings(recipe, stage, phase, name)
    run_folder = recipe_path.parent
    if not ranks.leads():
        word = ranks.team().hear()
        yield Job(
            *(stage, recipe, settings, out, run_folder, phase, number, ()),
            key=word["key"],
            done=word["done"],
            leads=False,
        )
        return
    record = run_folder / "logs" / "failures" / f"{stage}-{_flat(out, run_folder)}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out.parent / f".{out.name}.lock", fallback_to_soft=False)
    with lock:
        key = settings_hash([settings, [str(out)], _fingerprints(inputs or {})])
        _end_at_known_failure(record, key)
        try:
            refs = _references(inputs or {}, run_folder)
            job = Job(stage, recipe, settings, out, run_folder, phase, number, refs, key)
            job.done = _stands(job)
            if not job.done:
                _prepare_work(job)
                _forget_older(job)
                event("started", out=str(out), key=key)
            if ranks.several():
                ranks.team().tell({"key": key, "done": job.done})
            yield job
        except UserError as error:
            _record_failure(record, key, error)
            raise
    record.unlink(missing_ok=True)


def _references(inputs: Inputs, run_folder: Path) -> tuple[InputRef, ...]:
    refs = []
    for role, value in inputs.items():
        for path in [value] if isinstance(value, Path) else value:
            manifest = read_manifest(path)
            _require_as_made(manifest, path)
            refs.append(InputRef(role, os.path.relpath(path, run_folder), manifest.digest))
    return tuple(refs)


def _require_as_made(manifest: Manifest, path: Path) -> None:
    """Refuse a table that is not what its manifest vouches for: what follows would tell a lie.

    Tables that are missing or damaged are named when they are opened.
    """
    for name in manifest.files:
        file, made = path.parent / name, manifest.checksums.get(name)
        if made is not None and file.is_file() and file_digest(file) != made:
            TableReader(file)  # says it better where the file is damaged or not a table of Rondo
            raise UserError(
                "changed since it was made",
                file,
                f"`rondo accept {os.path.relpath(file)}` takes the change over; to make it anew, "
                f"remove {os.path.relpath(path)} and run again",
            )


def _stands(job: Job) -> bool:
    """Whether the output manifest is there, of equal settings and inputs, with all its files."""
    if not job.out.exists():
        return False
    try:
        made = read_manifest(job.out)
    except UserError:
        return False
    equal = made.lineage.settings == job.settings and made.lineage.inputs == job.inputs
    whole = all((job.out.parent / name).exists() for name in made.files)
    if equal and whole:
        event("already_made", out=str(job.out))
    return equal and whole


def _prepare_work(job: Job) -> None:
    """Keep a scratch folder of the same key, wipe any other."""
    marker = job.work / "key"
    if job.work.exists() and not (marker.exists() and marker.read_text() == job.key):
        event("scratch_of_other_inputs_removed", folder=str(job.work))
        shutil.rmtree(job.work)
    job.work.mkdir(parents=True, exist_ok=True)
    write_text(marker, job.key)


def _forget_older(job: Job) -> None:
    """Remove the manifest of an older result, and half files of processes that were killed.

    From here on the files beside the manifest change, and it would vouch for what is not there.
    Only the holder of the lock writes these names.
    """
    job.out.unlink(missing_ok=True)
    for half in job.out.parent.glob(f".{job.out.stem}.*.tmp"):
        if half.is_dir():
            shutil.rmtree(half)
        else:
            half.unlink()


def _fingerprints(inputs: Inputs) -> list[list[str]]:
    """Content of the input files as they are now, also of damaged or missing ones."""
    found = []
    for role, value in inputs.items():
        for path in [value] if isinstance(value, Path) else value:
            text = path.read_text(errors="replace") if path.is_file() else "missing"
            found.append([role, settings_hash(text)])
    return found


def _end_at_known_failure(record: Path, key: str) -> None:
    """End a retry of what cannot succeed: only Snakemake's retries see a record of their key.

    A run that a person starts anew tries again, since something outside may have been mended.
    """
    if not record.exists():
        return
    known = read_json(record, "failure record")
    if known.get("key") == key and known.get("parent") == _invocation():
        raise UserError(known["what"], known["where"], known["mend"])


def _record_failure(record: Path, key: str, error: UserError) -> None:
    with contextlib.suppress(OSError):
        write_json(
            record,
            {
                "key": key,
                "parent": _invocation(),
                "what": error.what,
                "where": error.where,
                "mend": error.mend,
            },
        )


def _invocation() -> str:
    """The Snakemake run that started this process; each process started by hand is its own."""
    return os.environ.get(INVOCATION, f"by-hand-{os.getpid()}")


def _flat(out: Path, run_folder: Path) -> str:
    return os.path.relpath(out, run_folder).replace(os.sep, "-").removesuffix(".json")
