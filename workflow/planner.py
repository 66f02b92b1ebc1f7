"""From a recipe to the DAG: which jobs there are, what they read, make and depend on.

Pure Python without torch. The rules in ``workflow/rules`` ask a :class:`Plan` and hold no logic
of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.runtime.hashing import settings_hash
from stages.settings import layout
from stages.settings.recipe import Recipe
from stages.settings.subsets import stage_settings
from workflow.checks import check_recipe
from workflow.identity import check_identity
from workflow.resolve import resolve


@dataclass(frozen=True)
class Plan:
    """One recipe laid out as a DAG below ``results/<run>/``."""

    recipe: Recipe
    results: str = "results"

    @property
    def root(self) -> str:
        """The run's folder."""
        return f"{self.results}/{self.recipe.run}"

    def path(self, relative: str) -> str:
        """A path of the layout below the run's folder."""
        return f"{self.root}/{relative}"

    def settings_hash(self, stage: str, phase: str | None = None, name: str | None = None) -> str:
        """What a rule puts into ``params``: changes when the stage's settings change."""
        return settings_hash(stage_settings(self.recipe, stage, phase, name))

    def python(self) -> str:
        """How a rule starts a training stage: plainly, or as several processes of it.

        No parameter of the rule, so that another number of processes reruns nothing.
        """
        if self.recipe.processes == 1:
            return "python -m"
        return f"python -m workflow.launch --processes {self.recipe.processes} --"

    # What there is

    def rounds(self) -> list[tuple[str, int]]:
        """All (phase, round) in the order of the run."""
        return [
            (name, number)
            for name, phase in self.recipe.phases.items()
            for number in range(1, phase.rounds + 1)
        ]

    def sampled_phases(self) -> list[str]:
        """Phases whose rounds sample."""
        return [name for name, phase in self.recipe.phases.items() if phase.sample]

    def evaluations(self) -> list[str]:
        """Manifests of all evaluations, phases in order, rounds ascending from 0.

        The order keeps Snakemake's recursion short: each chain is already known when reached.
        """
        return [
            self.path(layout.in_round(name, number, "evaluation"))
            for name, phase in self.recipe.phases.items()
            for number in range(phase.rounds + 1)
        ]

    def samples_with(self, engine: str, stage: str) -> bool:
        """Whether jobs of ``sample`` or ``evaluate`` sample with the named engine."""
        if stage == "evaluate":
            return self.recipe.evaluate.engine == engine
        samples = [phase.sample for phase in self.recipe.phases.values() if phase.sample]
        return any(sample.engine == engine for sample in samples)

    def pools(self) -> list[str]:
        """Manifests of all pools."""
        return [
            self.path(layout.in_round(phase, number, "pool"))
            for phase, number in self.rounds()
            if self.recipe.phases[phase].tag
        ]

    def targets(self) -> list[str]:
        """All that a run ends with, rounds in ascending order."""
        ends = map(self.path, (layout.TIDY, layout.SUMMARY, layout.REPORT))
        return [*self.evaluations(), *ends]

    def jobs(self) -> dict[str, int]:
        """Number of jobs of each stage of a run from nothing, in the order of the run."""
        recipe = self.recipe
        scratch = recipe.policy.init == "from_scratch"
        sampled = [place for place in self.rounds() if recipe.phases[place[0]].sample]
        trained = recipe.trained_scorers()
        splits = {recipe.evaluate.split} | ({"train"} if sampled else set())
        sft = {p.update.data for p in recipe.phases.values() if p.update.kind == "sft"}
        shards = len(sampled) * recipe.shards
        return {
            "prepare_prompts": len(splits) + len(trained) + len(sft) + scratch,
            "train_base_model" if scratch else "adopt_policy": 1,
            "train_reward_model": len(trained),
            "sample": shards,
            "score": shards,
            "tag": len(sampled),
            "update_policy": len(self.rounds()),
            "evaluate": len(self.evaluations()),
            "report": 1,
        }

    # What a job reads

    def policy_before(self, phase: str, number: int) -> str:
        """Manifest of the policy with which a round starts."""
        if number > 1:
            return self.path(layout.in_round(phase, number - 1, "policy"))
        names = list(self.recipe.phases)
        place = names.index(phase)
        if place == 0:
            return self.path(layout.BASE)
        earlier = names[place - 1]
        last = self.recipe.phases[earlier].rounds
        return self.path(layout.in_round(earlier, last, "policy"))

    def evaluated_policy(self, phase: str, number: int) -> str:
        """Manifest of the policy that round ``number`` evaluates; 0 is the one before the phase."""
        if number == 0:
            return self.policy_before(phase, 1)
        return self.path(layout.in_round(phase, number, "policy"))

    def stop_evidence(self, phase: str, number: int) -> list[str]:
        """Evaluations that decide whether a round still runs: only where the recipe may stop."""
        if not self.recipe.stop_when or number == 1:
            return []
        return [
            self.path(layout.in_round(phase, earlier, "evaluation")) for earlier in (0, number - 1)
        ]

    def prompts(self, split: str) -> str:
        """Manifest of the prompts of a split."""
        return self.path(layout.data(split))

    def scorers(self, phase: str) -> list[str]:
        """Manifests of the trained scorers that a phase scores with."""
        trained = self.recipe.trained_scorers()
        return [
            self.path(layout.reward_model(name))
            for name in self.recipe.phases[phase].score
            if name in trained
        ]

    def judges(self, phase: str) -> list[str]:
        """Manifests of the trained scorers that an evaluation uses."""
        names = dict.fromkeys([*self.recipe.phases[phase].score, self.recipe.evaluate.judge])
        trained = self.recipe.trained_scorers()
        return [self.path(layout.reward_model(name)) for name in names if name in trained]

    def reward_model_inputs(self, name: str) -> dict[str, str]:
        """What the training of a scorer reads."""
        model = self.recipe.reward_models[name]
        inputs = {"ratings": self.path(layout.data(f"ratings.{name}"))}
        if model.features == "transformer" and model.base == "policy":
            inputs["policy"] = self.path(layout.BASE)
        return inputs

    def base_inputs(self) -> dict[str, str]:
        """What the base policy is made from."""
        if self.recipe.policy.init == "from_scratch":
            return {"texts": self.path(layout.data("texts"))}
        return {}

    def pool_inputs(self, phase: str, number: int) -> dict[str, list[str]]:
        """Samples, scores and earlier pool from which a round's pool is made."""
        rounds = range(1, number + 1)
        return {
            "samples": [self.path(layout.in_round(phase, r, "samples")) for r in rounds],
            "scores": [self.path(layout.in_round(phase, r, "scores")) for r in rounds],
        }

    def parts(self, phase: str, number: int, name: str) -> list[str]:
        """Manifests of the shards of a table."""
        shards = self.recipe.shards
        return [
            self.path(layout.part(phase, number, name, shard, shards)) for shard in range(shards)
        ]

    def update_inputs(self, phase: str, number: int) -> dict[str, Any]:
        """What an update reads."""
        inputs: dict[str, Any] = {
            "policy": self.path(layout.in_round(phase, number, "policy_in")),
            "reference": self.policy_before(phase, 1),
        }
        settings = self.recipe.phases[phase]
        if settings.sample:
            inputs["pool"] = self.path(layout.in_round(phase, number, "pool"))
            inputs["samples"] = self.pool_inputs(phase, number)["samples"]
            inputs["prompts"] = self.prompts("train")
        elif settings.update.kind == "sft":
            inputs["demonstrations"] = self.path(layout.data(settings.update.data))
        return inputs

    def learning_options(self, phase: str, inputs: Any) -> str:
        """Command line of what an update learns from."""
        if self.recipe.phases[phase].sample:
            samples = " ".join(f"--samples {path}" for path in inputs.samples)
            return f"--pool {inputs.pool} --prompts {inputs.prompts} {samples}"
        return f"--demonstrations {inputs.demonstrations}"


def load_plan(config: Mapping[str, Any], check_files: bool = True) -> Plan:
    """Resolve, check and lay out the recipe of a Snakemake config."""
    recipe = resolve(config)
    plan = Plan(recipe, str(config.get("results") or "results"))
    if check_files:
        check_recipe(recipe)
        check_identity(recipe, Path(plan.root))
    return plan
