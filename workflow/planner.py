"""From a recipe to the DAG: which jobs there are, what they read, make and depend on.

Pure Python without torch. The rules in ``workflow/rules`` ask a :class:`Plan` and hold no logic
of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.runtime.hashing import settings_hash
from stages.settings import layout
from stages.settings.figures import Slot, figure_slots
from stages.settings.recipe import Recipe
from stages.settings.scorers import reads_questions
from stages.settings.subsets import stage_settings, starts_from_policy
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
        """Phases whose rounds sample by jobs of their own."""
        return [name for name, phase in self.recipe.phases.items() if phase.sampled]

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

    def further_evaluations(self) -> list[str]:
        """Manifests of what ``evaluate.also`` asks for, phases in order, rounds ascending."""
        return [
            self.path(layout.also(name, number, also))
            for name, phase in self.recipe.phases.items()
            for number in range(phase.rounds + 1)
            for also in self.recipe.evaluate.also
            if number in self.recipe.further_rounds(name, also)
        ]

    def pools(self) -> list[str]:
        """Manifests of all pools."""
        return [
            self.path(layout.in_round(phase, number, "pool"))
            for phase, number in self.rounds()
            if self.recipe.phases[phase].tag
        ]

    def figures(self) -> tuple[Slot, ...]:
        """The figures of the report, each a file of its own."""
        return figure_slots(self.recipe)

    def targets(self) -> list[str]:
        """All that a run ends with, rounds in ascending order."""
        ends = map(self.path, (layout.TIDY, layout.SUMMARY, layout.REPORT))
        figures = (self.path(slot.file) for slot in self.figures())
        return [*self.evaluations(), *self.further_evaluations(), *ends, *figures]

    def jobs(self) -> dict[str, int]:
        """Number of jobs of each stage of a run from nothing, in the order of the run."""
        recipe = self.recipe
        scratch = recipe.policy.init == "from_scratch"
        sampled = [place for place in self.rounds() if recipe.phases[place[0]].sampled]
        asks = any(phase.sample for phase in recipe.phases.values())
        trained = recipe.trained_scorers()
        prompts = {self.prompts(recipe.evaluate.split), *map(self.prompts_of, recipe.evaluate.also)}
        prompts |= {self.prompts("train")} if asks else set()
        prompts |= self.all_questions()
        learnt = {path for name in trained for path in self.reward_model_inputs(name).values()}
        compared = [name for name in trained if self.path(layout.comparisons(name)) in learnt]
        tables = len(learnt - {self.path(layout.BASE)}) - len(compared)
        sft = recipe.demonstrations()
        shards = len(sampled) * recipe.shards
        return {
            "prepare_prompts": len(prompts) + tables + len(sft) + scratch,
            "build_comparisons": len(compared),
            "train_base_model" if scratch else "adopt_policy": 1,
            "train_reward_model": len(trained),
            "sample": shards,
            "score": shards,
            "tag": len(self.pools()),
            "update_policy": len(self.rounds()),
            "evaluate": len(self.evaluations()) + len(self.further_evaluations()),
            "report": 1,
        }

    # What a job reads

    def policy_before(self, phase: str, number: int) -> str:
        """Manifest of the policy with which a round starts."""
        if number > 1:
            return self.path(layout.in_round(phase, number - 1, "policy"))
        earlier = self.recipe.start_of(phase)
        if earlier is None:
            return self.path(layout.BASE)
        if self.recipe.phases[earlier].hand_on == "best":
            return self.path(layout.best(earlier))
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

    def prompts_of(self, also: str) -> str:
        """Manifest of the prompts of a further evaluation: of its own data, or of a split."""
        if self.recipe.evaluate.also[also].data is not None:
            return self.path(layout.data(f"prompts.{also}"))
        return self.prompts(self.recipe.evaluation(also).split)

    def questions(self, phase: str) -> list[str]:
        """Manifest of the questions that a phase's scorers read, if any does."""
        names = self.recipe.phases[phase].score
        return self._questions(names, "train")

    def questions_judged(self, phase: str, also: str | None = None) -> list[str]:
        """Manifest of the questions that an evaluation reads: its scorers, or ROUGE."""
        names, settings = self.recipe.measuring(phase, also), self.recipe.evaluation(also)
        if "rouge" in settings.metrics:
            return [self.path(layout.data(f"questions.{settings.split}"))]
        return self._questions(names, settings.split)

    def all_questions(self) -> set[str]:
        """Manifests of the questions that a run needs."""
        found = set()
        for name, phase in self.recipe.phases.items():
            found.update(self.questions(name) if phase.sample else [])
            for also in (None, *self.recipe.evaluate.also):
                found.update(self.questions_judged(name, also))
        return found

    def _questions(self, scorers: Sequence[str], split: str) -> list[str]:
        judges = self.recipe.judges()
        asked = any(reads_questions(judges[name]) for name in scorers)
        return [self.path(layout.data(f"questions.{split}"))] if asked else []

    def scorers(self, phase: str) -> list[str]:
        """Manifests of the trained scorers that a phase scores with."""
        trained = self.recipe.trained_scorers()
        return [
            self.path(layout.reward_model(name))
            for name in self.recipe.phases[phase].score
            if name in trained
        ]

    def judges(self, phase: str, also: str | None = None) -> list[str]:
        """Manifests of the trained scorers that an evaluation, or a further one, uses."""
        names = self.recipe.measuring(phase, also)
        trained = self.recipe.trained_scorers()
        return [self.path(layout.reward_model(name)) for name in names if name in trained]

    def reward_model_inputs(self, name: str) -> dict[str, str]:
        """What the training of a scorer reads."""
        model = self.recipe.reward_models[name]
        if model.kind == "span":
            labels = self.path(layout.data(f"labels.{name}"))
            inputs = {"labels": labels, "feedback": self.path(layout.data("feedback"))}
        elif model.kind == "preference":
            comparisons = self.path(layout.comparisons(name))
            inputs = {"comparisons": comparisons, **self.comparison_inputs(name)}
        else:
            inputs = {"ratings": self.path(layout.data(f"ratings.{name}"))}
        if starts_from_policy(model):
            inputs["policy"] = self.path(layout.BASE)
        return inputs

    def comparison_inputs(self, name: str) -> dict[str, str]:
        """What the comparisons of a scorer are made from."""
        return {"feedback": self.path(layout.data("feedback"))}

    def tables(self) -> list[str]:
        """Manifests of all tables that stand before any training, of every reward model named."""
        recipe = self.recipe
        models = list(recipe.reward_models)
        learnt = [path for name in models for path in self.reward_model_inputs(name).values()]
        asked = any(recipe.reward_models[name].kind != "regression" for name in models)
        splits = list(dict.fromkeys(["train", recipe.evaluate.split]))
        names = [*splits, *(f"questions.{split}" for split in splits if asked)]
        names += [*recipe.demonstrations(), *(["texts"] if self.base_inputs() else [])]
        found = [*(self.path(layout.data(name)) for name in names), *learnt]
        return [path for path in dict.fromkeys(found) if path != self.path(layout.BASE)]

    def reward_models(self) -> list[str]:
        """Manifests of every reward model named, whether a phase needs it or not."""
        return [self.path(layout.reward_model(name)) for name in self.recipe.reward_models]

    def base_inputs(self) -> dict[str, str]:
        """What the base policy is made from."""
        if self.recipe.policy.init == "from_scratch":
            return {"texts": self.path(layout.data("texts"))}
        return {}

    def candidates(self, phase: str) -> dict[str, list[str]]:
        """Policies and evaluations of a phase, of which the best is handed on."""
        rounds = range(1, self.recipe.phases[phase].rounds + 1)
        return {
            "policies": [self.path(layout.in_round(phase, r, "policy")) for r in rounds],
            "evaluations": [self.path(layout.in_round(phase, r, "evaluation")) for r in rounds],
        }

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
        if settings.online:
            inputs["prompts"] = self.prompts("train")
            inputs["questions"] = self.questions(phase)
            inputs["models"] = self.scorers(phase)
        elif settings.update.kind == "ppo":
            inputs["samples"] = [self.path(layout.in_round(phase, number, "samples"))]
            inputs["scores"] = self.path(layout.in_round(phase, number, "scores"))
        elif settings.update.kind == "conditional":
            inputs["pool"] = self.path(layout.in_round(phase, number, "pool"))
            inputs["samples"] = self.pool_inputs(phase, number)["samples"]
            inputs["prompts"] = self.prompts("train")
        elif settings.update.kind == "sft":
            inputs["demonstrations"] = self.path(layout.data(settings.update.data))
        return inputs

    def learning_options(self, phase: str, inputs: Any) -> str:
        """Command line of what an update learns from."""
        settings = self.recipe.phases[phase]
        if settings.online:
            models = "".join(f" --model {path}" for path in inputs.models)
            asked = "".join(f" --questions {path}" for path in inputs.questions)
            return f"--prompts {inputs.prompts}{asked}{models}"
        if settings.update.kind == "sft":
            return f"--demonstrations {inputs.demonstrations}"
        samples = " ".join(f"--samples {path}" for path in inputs.samples)
        if settings.update.kind == "ppo":
            return f"{samples} --scores {inputs.scores}"
        return f"--pool {inputs.pool} --prompts {inputs.prompts} {samples}"


def judging_options(inputs: Any) -> str:
    """Command line of what scorers read beside prompts and answers."""
    questions = [f"--questions {path}" for path in inputs.questions]
    return " ".join([*questions, *(f"--model {path}" for path in inputs.models)])


def load_plan(config: Mapping[str, Any], check_files: bool = True) -> Plan:
    """Resolve, check and lay out the recipe of a Snakemake config."""
    recipe = resolve(config)
    plan = Plan(recipe, str(config.get("results") or "results"))
    if check_files:
        check_recipe(recipe)
        check_identity(recipe, Path(plan.root))
    return plan
