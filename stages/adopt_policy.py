"""Take a model that exists, from disk, hub or this project, as the base policy of a run."""

from __future__ import annotations

from pathlib import Path

from stages.contract.job import stage_job
from stages.contract.options import Out, RecipeFile, main
from stages.contract.policies import KIND, SHIPPED
from stages.runtime.errors import UserError
from stages.runtime.hashing import checksums_digest, folder_checksums, settings_hash


def adopt_policy(recipe: RecipeFile, out: Out) -> None:
    """Write the manifest of the base policy; nothing is copied."""
    with stage_job("adopt_policy", recipe, out) as job:
        if job.done:
            return
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


if __name__ == "__main__":
    main("adopt_policy", adopt_policy)
