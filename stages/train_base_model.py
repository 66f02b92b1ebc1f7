"""Train a small language model from scratch on the task's texts.

Texts of one thread are learnt in one window, with an end token after each: the model may look back
from a text to those before it, as in what large models are trained on. An encoder-decoder reads all
but the last text of a thread and writes the last.
"""

from __future__ import annotations

from itertools import chain, groupby
from pathlib import Path
from typing import Annotated, Any

import typer

from stages.artifacts.manifest import table_files
from stages.artifacts.schemas import TEXTS, TRAINING_LOG
from stages.artifacts.store import write_table
from stages.contract.chunks import rows_of
from stages.contract.job import Job, stage_job
from stages.contract.options import Out, RecipeFile, main
from stages.contract.policies import KIND, inside_run
from stages.contract.tracking import job_trackers
from stages.runtime.errors import UserError
from stages.runtime.hashing import seed_from
from stages.runtime.signals import stop_requested
from stages.settings.models import BaseModelSettings
from stages.settings.strict import parse


def train_base_model(
    recipe: RecipeFile,
    texts: Annotated[Path, typer.Option(help="manifest of the texts")],
    out: Out,
) -> None:
    """Train tokenizer and model; the folder loads with from_pretrained."""
    with stage_job("train_base_model", recipe, out, {"texts": texts}, several=True) as job:
        if not job.done:
            _train(job, texts)


def _train(job: Job, texts_path: Path) -> None:
    from stages.learning.training_log import log_rows, process_counts, token_count
    from stages.models.load import save_policy

    settings = parse(BaseModelSettings, job.settings["policy"]["base_model"], "policy.base_model")
    rows = rows_of(table_files(texts_path, TEXTS), TEXTS, ["thread", "text"])
    threads = [
        [row["text"] for row in thread]
        for _, thread in groupby(rows, key=lambda row: row["thread"])
    ]
    if not threads:
        raise UserError("no texts to learn from", texts_path, "look at the task's data")
    trainer, model, tokenizer = _trainer(job, settings, threads)
    with job_trackers(job) as trackers:
        trainer.track(trackers)
        history = trainer.run()
    if not job.leads:
        return
    folder = job.out.parent / "policy"
    save_policy(model, tokenizer, folder)
    log = job.out.parent / "training_log.parquet"
    write_table(log, TRAINING_LOG, log_rows(history), job.lineage())
    job.finish_model(
        KIND,
        folder,
        [log],
        counters={"tokens": token_count(history)},
        facts=inside_run(folder, job.run_folder) | {"processes": process_counts(history)},
    )


def _trainer(
    job: Job, settings: BaseModelSettings, threads: list[list[str]]
) -> tuple[Any, Any, Any]:
    import numpy as np

    from stages.learning import from_settings
    from stages.learning.checkpoints import Checkpoints
    from stages.learning.draws import Draws
    from stages.learning.sft import SftUpdater
    from stages.learning.trainer import Trainer, TrainSettings
    from stages.models.device import pick_device, pick_precision
    from stages.models.fresh import fresh_policy
    from stages.models.mimetic import make_mimetic
    from stages.tasks.tokenizer import train_tokenizer
    from stages.text.conditioning import plain_ids, special_frame
    from stages.updating.threads import last_of_thread, whole_thread

    device = pick_device()
    tokenizer = train_tokenizer(list(chain.from_iterable(threads)), settings.vocabulary)
    seed = seed_from(job.recipe.seed, "base_model") % 2**63
    model = fresh_policy(settings.architecture, dict(settings.config), tokenizer, seed % 2**31)
    if settings.attention == "mimetic":
        make_mimetic(model, seed % 2**31)
    end = tokenizer.eos_token_id
    examples = {}
    frame = special_frame(tokenizer)
    start = model.config.decoder_start_token_id if model.config.is_encoder_decoder else None
    for index, thread in enumerate(threads):
        name, texts = str(index), [plain_ids(tokenizer, text) for text in thread]
        examples[name] = (
            whole_thread(name, texts, end, settings.max_tokens)
            if start is None
            else last_of_thread(name, texts, end, settings.max_tokens, frame)
        )

    def order(number: int) -> list[str]:
        shuffled = np.random.default_rng([seed, number]).permutation(len(threads))
        return [str(index) for index in shuffled]

    trainer = Trainer(
        SftUpdater(
            model,
            from_settings.layout(None, device, start),
            pick_precision(job.settings["precision"], device),
        ),
        examples,
        Draws(order, settings.batch_size),
        from_settings.schedule(settings.optimizer, settings.steps),
        from_settings.adam(settings.optimizer),
        TrainSettings(
            settings.steps, seed, settings.optimizer.clip_grad, settings.checkpoint_every
        ),
        checkpoints=Checkpoints(job.work / "checkpoints", job.key),
        should_stop=stop_requested,
    )
    return trainer, model, tokenizer


if __name__ == "__main__":
    main("train_base_model", train_base_model)
