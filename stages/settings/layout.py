"""Where everything of a run stands. All paths are relative to the run's folder."""

from __future__ import annotations

BASE = "base/policy.json"
RECIPE = "recipe.yaml"
SUMMARY = "summary.json"
REPORT = "report.html"
TIDY = "tidy.json"


def data(table: str) -> str:
    """Manifest of a table that ``prepare_prompts`` makes."""
    return f"data/{table}.json"


def reward_model(name: str) -> str:
    """Manifest of a trained scorer."""
    return f"reward_models/{name}/model.json"


def comparisons(name: str) -> str:
    """Manifest of the comparisons that a scorer learns from."""
    return f"reward_models/{name}/comparisons.json"


def round_folder(phase: str, number: int) -> str:
    """Folder of one round."""
    return f"phases/{phase}/r{number}"


def in_round(phase: str, number: int, name: str) -> str:
    """A manifest of one round: policy_in, samples, scores, pool, policy or evaluation."""
    return f"{round_folder(phase, number)}/{name}.json"


def best(phase: str) -> str:
    """Manifest of the best policy of a phase, where the next one starts from it."""
    return f"phases/{phase}/best.json"


def also(phase: str, number: int, name: str) -> str:
    """Manifest of a further evaluation of one round."""
    return f"{round_folder(phase, number)}/also/{name}.json"


def part(phase: str, number: int, name: str, shard: int, shards: int) -> str:
    """Manifest of one shard of a table of a round."""
    return f"{round_folder(phase, number)}/{name}/part-{shard}-of-{shards}.json"
