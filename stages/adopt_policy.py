"""Take a model that exists, from disk, hub or this project, as the base policy of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.contract.job import Job, stage_job
from stages.contract.options import Out, RecipeFile, main
from stages.contract.policies import KIND, SHIPPED, inside_run
from stages.runtime.errors import UserError
from stages.runtime.hashing import checksums_digest, folder_checksums, settings_hash


def adopt_policy(recipe: RecipeFile, out: Out) -> None:
    """Write the manifest of the base policy. Nothing is copied, unless it gets a tokenizer."""
    with stage_job("adopt_policy", recipe, out) as job:
        if job.done:
            return
        if job.settings["policy"]["tokenizer"] is None:
            _point_at(job)
        else:
            _put_together(job)


def _point_at(job: Job) -> None:
    init = job.settings["policy"]["init"]
    folder = SHIPPED.get(init, Path(init))
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise UserError("no config.json in the model folder", folder, "check policy.init")
        files, place = folder_checksums(folder), str(folder.resolve())
        digest = checksums_digest(files)
        if init in SHIPPED:
            place = init
    elif init.startswith(("/", ".", "~")) or init in SHIPPED:
        raise UserError("model folder not found", folder, "check policy.init")
    else:
        revision = job.settings["policy"]["revision"] or "main"
        digest, place, files = settings_hash([init, revision]), init, {}
    facts = {"folder": place, "external": True, "init": init, "files": files}
    job.finish(KIND, digest, [], facts=facts, model=init)


def _put_together(job: Job) -> None:
    """A folder of the run's own with the model and the tokenizer that was named for it."""
    from stages.models.load import load_model, load_tokenizer, save_policy

    init, named = (job.settings["policy"][key] for key in ("init", "tokenizer"))
    model: Any = load_model(SHIPPED.get(init, init), "auto")
    tokenizer = load_tokenizer(SHIPPED.get(named, named))
    rows = len(model.get_input_embeddings().weight)
    if len(tokenizer) > rows:
        raise UserError(
            f"the tokenizer has {len(tokenizer):,} tokens, the model {rows:,}",
            f"policy.tokenizer: {named}",
            "name the tokenizer that the model was trained with",
        )
    folder = job.out.parent / "policy"
    save_policy(model, tokenizer, folder)
    facts = inside_run(folder, job.run_folder) | {"init": init}
    job.finish_model(KIND, folder, facts=facts, model=init)


if __name__ == "__main__":
    main("adopt_policy", adopt_policy)
