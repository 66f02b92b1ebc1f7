"""A whole run in this process, job by job, at the scale of the tests: seconds instead of minutes.

The stages are called as the functions behind their command lines, in the order of the DAG. What
Snakemake adds is tested elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.settings import layout
from workflow.advance import advance
from workflow.join import join
from workflow.outcome import write_recipe
from workflow.planner import Plan, load_plan
from workflow.tidy import tidy


class MiniRun:
    """A run below ``folder``; each method does the jobs of one rule."""

    def __init__(
        self,
        folder: Path,
        settings: str | Mapping[str, Any] = "",
        score_chunk: int = 1024,
        **config: Any,
    ) -> None:
        self.score_chunk = score_chunk
        whole: Mapping[str, Any] = {
            "recipe": "toxicity-nlf",
            "scale": "test",
            "seed": 1,
            "results": str(folder),
            "set": settings,
            **config,
        }
        self.plan: Plan = load_plan(whole)
        self.root = Path(self.plan.root)
        self.recipe_file = self.root / layout.RECIPE
        write_recipe(self.plan)

    def path(self, relative: str) -> Path:
        return Path(self.plan.path(relative))

    def all(self) -> MiniRun:
        self.start()
        for phase, settings in self.plan.recipe.phases.items():
            self.evaluate(phase, 0)
            for number in range(1, settings.rounds + 1):
                self.round(phase, number)
            self.further(phase)
            if settings.hand_on == "best":
                self.best(phase)
        tidy(self.recipe_file, self.path(layout.TIDY))
        return self

    def start(self) -> MiniRun:
        """Data, base policy, reward models."""
        evaluate = self.plan.recipe.evaluate
        wanted = [self.plan.prompts_of(name) for name in evaluate.also]
        wanted += [self.plan.prompts("train"), self.plan.prompts(evaluate.split)]
        if self.plan.recipe.policy.init == "from_scratch":
            self.prepare("texts")
        wanted += sorted(self.plan.all_questions())
        for phase in self.plan.recipe.phases.values():
            if phase.update.kind == "sft":
                wanted.append(self.plan.path(layout.data(phase.update.data)))
        for path in dict.fromkeys(wanted):
            self.prepare(Path(path).name.removesuffix(".json"))
        self.base()
        for name in self.plan.recipe.trained_scorers():
            for path in map(Path, self.plan.reward_model_inputs(name).values()):
                if path.parent == self.root / "data":
                    self.prepare(path.name.removesuffix(".json"))
                elif path == self.path(layout.comparisons(name)):
                    self.comparisons(name)
            self.reward_model(name)
        return self

    def round(self, phase: str, number: int) -> None:
        settings = self.plan.recipe.phases[phase]
        self.advance(phase, number)
        if settings.sampled:
            self.sample(phase, number)
            self.score(phase, number)
        if settings.tag:
            self.tag(phase, number)
        self.update(phase, number)
        self.evaluate(phase, number)

    def prepare(self, table: str) -> None:
        from stages.prepare_prompts import prepare_prompts

        prepare_prompts(self.recipe_file, table, self.path(layout.data(table)))

    def base(self) -> None:
        from stages.adopt_policy import adopt_policy
        from stages.train_base_model import train_base_model

        out = self.path(layout.BASE)
        if self.plan.recipe.policy.init == "from_scratch":
            train_base_model(self.recipe_file, self.path(layout.data("texts")), out)
        else:
            adopt_policy(self.recipe_file, out)

    def comparisons(self, name: str) -> None:
        from stages.build_comparisons import build_comparisons

        inputs = {k: Path(v) for k, v in self.plan.comparison_inputs(name).items()}
        self.prepare("feedback")
        build_comparisons(self.recipe_file, name, out=self.path(layout.comparisons(name)), **inputs)

    def reward_model(self, name: str) -> None:
        from stages.train_reward_model import train_reward_model

        inputs = {k: Path(v) for k, v in self.plan.reward_model_inputs(name).items()}
        out = self.path(layout.reward_model(name))
        train_reward_model(self.recipe_file, name, out, **inputs)

    def advance(self, phase: str, number: int) -> None:
        evidence = [Path(p) for p in self.plan.stop_evidence(phase, number)]
        policy = Path(self.plan.policy_before(phase, number))
        out = self.path(layout.in_round(phase, number, "policy_in"))
        advance(self.recipe_file, number, policy, out, evidence)

    def best(self, phase: str) -> None:
        from workflow.best import best

        best(self.recipe_file, phase, self.path(layout.best(phase)))

    def sample(self, phase: str, number: int) -> None:
        from stages.sample import sample

        policy = self.path(layout.in_round(phase, number, "policy_in"))
        prompts = Path(self.plan.prompts("train"))
        parts = [Path(p) for p in self.plan.parts(phase, number, "samples")]
        for shard, out in enumerate(parts):
            sample(self.recipe_file, phase, number, policy, prompts, out, shard, len(parts))
        join(parts, self.path(layout.in_round(phase, number, "samples")))

    def score(self, phase: str, number: int) -> None:
        from stages.score import score

        samples = [Path(p) for p in self.plan.parts(phase, number, "samples")]
        parts = [Path(p) for p in self.plan.parts(phase, number, "scores")]
        prompts = Path(self.plan.prompts("train"))
        models = [Path(p) for p in self.plan.scorers(phase)]
        for source, out in zip(samples, parts, strict=True):
            score(
                self.recipe_file,
                phase,
                number,
                source,
                prompts,
                out,
                models,
                next(map(Path, self.plan.questions(phase)), None),
                self.score_chunk,
            )
        join(parts, self.path(layout.in_round(phase, number, "scores")))

    def tag(self, phase: str, number: int) -> None:
        from stages.tag import tag

        inputs = self.plan.pool_inputs(phase, number)
        tag(
            self.recipe_file,
            phase,
            number,
            self.path(layout.in_round(phase, number, "policy_in")),
            [Path(p) for p in inputs["samples"]],
            [Path(p) for p in inputs["scores"]],
            self.path(layout.in_round(phase, number, "pool")),
        )

    def update(self, phase: str, number: int) -> None:
        from stages.update_policy import update_policy

        inputs = self.plan.update_inputs(phase, number)
        if asked := inputs.pop("questions", []):
            inputs["questions"] = asked[0]
        lists = {"samples": "samples", "models": "model"}
        update_policy(
            self.recipe_file,
            phase,
            number,
            out=self.path(layout.in_round(phase, number, "policy")),
            **{
                lists.get(role, role): [Path(p) for p in value] if role in lists else Path(value)
                for role, value in inputs.items()
            },
        )

    def further(self, phase: str) -> None:
        """What ``evaluate.also`` asks for, of all rounds of a phase."""
        for path in map(Path, self.plan.further_evaluations()):
            place = path.relative_to(self.root)
            if place.parts[1] == phase:
                self.evaluate(phase, int(place.parts[2][1:]), place.stem)

    def evaluate(self, phase: str, number: int, also: str | None = None) -> None:
        from stages.evaluate import evaluate

        prompts = self.plan.prompts(self.plan.recipe.evaluate.split)
        out = layout.in_round(phase, number, "evaluation")
        evaluate(
            self.recipe_file,
            phase,
            number,
            Path(self.plan.evaluated_policy(phase, number)),
            self.path(layout.BASE),
            Path(self.plan.policy_before(phase, 1)),
            Path(self.plan.prompts_of(also) if also else prompts),
            self.path(layout.also(phase, number, also) if also else out),
            [Path(p) for p in self.plan.judges(phase, also)],
            next(map(Path, self.plan.questions_judged(phase, also)), None),
            also=also,
        )
