"""Sample answers of a policy to the round's prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stages.artifacts.manifest import table_files
from stages.artifacts.schemas import PROMPTS, SAMPLES
from stages.contract.chunks import chunks_of, list_total, rows_of, stream_table
from stages.contract.job import Job, stage_job
from stages.contract.options import Out, Phase, PolicyFile, PromptsFile, RecipeFile, Round, main
from stages.contract.policies import policy_folder, read_policy
from stages.settings.phases import SampleSettings
from stages.settings.strict import parse


def sample(
    recipe: RecipeFile,
    phase: Phase,
    number: Round,
    policy: PolicyFile,
    prompts: PromptsFile,
    out: Out,
    shard: Annotated[int, typer.Option(min=0, help="which piece of the prompts")] = 0,
    shards: Annotated[int, typer.Option(min=1, help="number of pieces")] = 1,
) -> None:
    """Sample one shard of a round. The first round asks without a tag, later ones with the best."""
    inputs = {"policy": policy, "prompts": prompts}
    with stage_job("sample", recipe, out, inputs, phase, number) as job:
        if job.done:
            return
        stopped = read_policy(policy).stopped
        if stopped:
            job.pass_by("samples", stopped)
            return
        _sample(job, policy, prompts, shard, shards)


def _sample(job: Job, policy_path: Path, prompts_path: Path, shard: int, shards: int) -> None:
    from stages.feedback.from_settings import Framing, phase_vocabulary
    from stages.feedback.strategies import parse_strategy
    from stages.models.load import load_tokenizer
    from stages.sampling.asks import (
        Occasion,
        Prompt,
        round_asks,
        round_prompts,
        shard_of,
        shared_draws,
    )
    from stages.sampling.engine import open_engine
    from stages.sampling.sampler import Sampler

    settings = parse(SampleSettings, job.settings["sample"], "sample")
    tag = job.settings["tag"]
    attributes = job.settings["attributes"]
    assert job.phase is not None and job.round is not None
    occasion = Occasion(job.settings["run"], job.phase, job.round, job.recipe.seed)
    vocabulary = tag and phase_vocabulary(
        tag["kind"], tag["vocabulary"], tag["quantiles"], attributes
    )
    tagged = vocabulary and (job.round > 1 or settings.first_round == "conditioned")
    strategy = parse_strategy(settings.strategy, len(attributes)) if tagged else None
    rows = rows_of(table_files(prompts_path, PROMPTS), PROMPTS, ["prompt_id", "text"])
    prompts = round_prompts([Prompt(**row) for row in rows], settings.prompts, occasion)
    asks = round_asks(
        occasion,
        shard_of(prompts, shard, shards),
        settings.n,
        strategy,
        vocabulary.quantiles if vocabulary else (),
        shared_draws(prompts, settings.prompts_per_draw),
    )
    policy = read_policy(policy_path)
    folder = policy_folder(policy, job.run_folder)
    path = job.out.with_suffix(".parquet")
    tokenizer = load_tokenizer(folder)
    with open_engine(settings, folder, job.settings["precision"]) as engine:
        sampler = Sampler(
            engine,
            tokenizer,
            settings.decoding,
            vocabulary or None,
            Framing.of(tag),
            job.settings["longest_prompt"],
        )
        digest = stream_table(
            path,
            SAMPLES,
            job.lineage(model=policy.digest),
            job.work,
            chunks_of(asks, settings.chunk),
            lambda chunks: sampler.chunks(chunks, occasion),
            "sampling",
        )
    counters = {"tokens": list_total(path, SAMPLES, "response_ids"), "samples": digest.rows}
    job.finish("samples", str(digest), [path], digest.rows, counters)


if __name__ == "__main__":
    main("sample", sample)
