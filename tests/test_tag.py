"""The stage tag: which score belongs to which answer, however the scores are stored."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ground import lineage, table_with_manifest
from recipes import recipe

from stages.artifacts.manifest import Manifest, read_manifest, table_readers, write_manifest
from stages.artifacts.schemas import POOL, SAMPLES, SCORES
from stages.runtime.errors import UserError
from stages.settings.recipe import Recipe
from stages.settings.yaml_file import dump_yaml
from stages.tag import tag

Row = dict[str, Any]
Values = dict[str, tuple[float | None, float | None]]

ROUNDS: list[Values] = [
    # kind, rude: kind is better high, rude better low; the best four of eight are quantile 0.
    {"b": (0.9, 0.8), "d": (0.1, 0.2), "a": (0.8, 0.1), "c": (0.2, 0.9)},
    {"g": (0.7, 0.7), "e": (0.3, 0.3), "h": (0.4, 0.6), "f": (0.6, 0.4)},
]
QUANTILES = {
    **{"b": [0, 1], "d": [1, 0], "a": [0, 0], "c": [1, 1]},
    **{"g": [0, 1], "e": [1, 0], "h": [1, 1], "f": [0, 0]},
}
MISSING: list[Values] = [
    {"b": (0.9, None), "d": (None, 0.2), "a": (None, None), "c": (0.2, 0.9)},
]


@pytest.fixture(scope="module")
def settings() -> Recipe:
    """Two scorers, whose scores are cut into two quantiles each."""
    scorers = {
        name: {"kind": "lexicon", "attribute": attribute, "better": better}
        for name, attribute, better in (("first", "kind", "high"), ("second", "rude", "low"))
    }
    cut = {"kind": "token", "vocabulary": "quark_attributes", "separator": None, "quantiles": 2}
    align = {"score": ["first", "second"], "tag": cut}
    change = {"scorers": scorers, "phases": {"align": align}}
    return recipe(scale="test", run="tagged", set=change)


def as_scored(values: Values) -> list[Row]:
    """Rows in the order of the samples, each with both scorers, as the stage score writes them."""
    return [
        {"sample_id": name, "attribute": attribute, "scorer": scorer, "value": value}
        for name, pair in values.items()
        for (scorer, attribute), value in zip(
            (("first", "kind"), ("second", "rude")), pair, strict=True
        )
    ]


def by_scorer(rows: list[Row]) -> list[Row]:
    """All of the second scorer, then all of the first, each in an order of its own."""
    first = [row for row in rows if row["scorer"] == "first"]
    second = [row for row in rows if row["scorer"] == "second"]
    return second[::-1] + first[2:] + first[:2]


def shuffled(rows: list[Row]) -> list[Row]:
    return random.Random(4).sample(rows, len(rows))


ORDERS: dict[str, Callable[[list[Row]], list[Row]]] = {
    "as scored": lambda rows: rows,
    "reversed": lambda rows: rows[::-1],
    "by scorer": by_scorer,
    "shuffled": shuffled,
}


def pool_of(
    folder: Path, settings: Recipe, rounds: list[Values], scores: list[list[Row]], files: int = 1
) -> list[Row]:
    """The pool after the last round."""
    (folder / "recipe.yaml").write_text(dump_yaml(settings.model_dump(mode="json")))
    policy, out = folder / "policy.json", folder / "pool.json"
    write_manifest(policy, Manifest("policy", "1-00", (), lineage()))
    samples = [
        [{"sample_id": name, "prompt_id": f"prompt of {name}"} for name in values]
        for values in rounds
    ]
    tables = [
        [
            table_with_manifest(folder / f"{kind.name}{number}.json", kind, rows, files)
            for number, rows in enumerate(tables, start=1)
        ]
        for kind, tables in ((SAMPLES, samples), (SCORES, scores))
    ]
    tag(folder / "recipe.yaml", "align", len(rounds), policy, *tables, out)
    return [row for reader in table_readers(out, POOL) for row in reader.table().to_pylist()]


def token(attribute: int, quantile: int) -> str:
    return f"_TREE_TOKEN_{attribute}_{quantile}"


@pytest.mark.parametrize("files", [1, 2])
@pytest.mark.parametrize("order", ORDERS)
def test_a_score_belongs_to_the_answer_that_it_names(
    settings: Recipe, order: str, files: int, tmp_path: Path
) -> None:
    """Each attribute is cut by its own scores; the pool stands in the order of the samples."""
    scores = [ORDERS[order](as_scored(values)) for values in ROUNDS]
    pool = pool_of(tmp_path, settings, ROUNDS, scores, files)
    assert [row["sample_id"] for row in pool] == [name for own in ROUNDS for name in own]
    for row in pool:
        name = row["sample_id"]
        kind, rude = QUANTILES[name]
        assert row["quantiles"] == [kind, rude], name
        assert row["tag"] == token(0, kind) + token(1, rude), name
        assert row["prompt_id"] == f"prompt of {name}"
        assert row["round"] == (1 if name in ROUNDS[0] else 2)


@pytest.mark.parametrize("order", ORDERS)
def test_what_has_no_score_is_given_no_tag(settings: Recipe, order: str, tmp_path: Path) -> None:
    """One score missing: the tag is silent on it. Both missing: nothing is learnt from it."""
    scores = [ORDERS[order](as_scored(values)) for values in MISSING]
    pool = pool_of(tmp_path, settings, MISSING, scores)
    assert {row["sample_id"]: (row["quantiles"], row["tag"]) for row in pool} == {
        "b": ([0, -1], token(0, 0)),
        "d": ([-1, 0], token(1, 0)),
        "c": ([1, 1], token(0, 1) + token(1, 1)),
    }


def test_scores_of_unknown_answers_are_refused(settings: Recipe, tmp_path: Path) -> None:
    strange: Values = {**ROUNDS[0], "z": (0.5, 0.5)}
    with pytest.raises(UserError, match="1 scores belong to no sample"):
        pool_of(tmp_path, settings, ROUNDS[:1], [as_scored(strange)])


def test_an_answer_that_one_scorer_passed_over_is_refused(settings: Recipe, tmp_path: Path) -> None:
    """A score that could not be given stands there as null; a row that is not there is a fault."""
    rows = [
        row for row in as_scored(ROUNDS[0]) if (row["sample_id"], row["scorer"]) != ("a", "first")
    ]
    with pytest.raises(UserError, match="attributes score different samples"):
        pool_of(tmp_path, settings, ROUNDS[:1], [rows])


def test_a_pool_without_any_score_is_refused(settings: Recipe, tmp_path: Path) -> None:
    nothing: Values = dict.fromkeys("abcd", (None, None))
    with pytest.raises(UserError, match="no sample has a score"):
        pool_of(tmp_path, settings, [nothing], [as_scored(nothing)])


def test_answers_that_nobody_could_judge_are_counted(settings: Recipe, tmp_path: Path) -> None:
    """Those of the round that is tagged: earlier ones stand in their own manifests."""
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    pool_of(one, settings, MISSING, [as_scored(own) for own in MISSING])
    assert read_manifest(one / "pool.json").facts["unscored"] == 1
    both = [*MISSING, ROUNDS[1]]
    pool_of(two, settings, both, [as_scored(own) for own in both])
    assert read_manifest(two / "pool.json").facts["unscored"] == 0
