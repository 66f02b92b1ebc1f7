"""Tags, vocabularies and the strategies that ask for them."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from stages.feedback.strategies import Strategy, control_cases, parse_strategy, vectors
from stages.feedback.tags import Tag, language, tokens
from stages.feedback.vocabulary import load_vocabulary
from stages.runtime.errors import UserError
from stages.settings.tag_words import FOLDER

SEEDS = np.arange(9000, dtype=np.uint64) * np.uint64(7919)


def test_published_toxicity_tags():
    vocabulary = load_vocabulary("toxicity", 5)
    assert vocabulary.words == (
        (
            "Lowest Toxicity",
            "Low-Moderate Toxicity",
            "Moderate Toxicity",
            "High-Moderate Toxicity",
            "Maximum Toxicity",
        ),
    )
    assert vocabulary.tag([0]) == Tag("Lowest Toxicity", (0,))
    assert vocabulary.tag([-1]) == Tag("", (-1,))


def test_published_lfqa_tags():
    vocabulary = load_vocabulary("lfqa", 3)
    assert vocabulary.attributes == ("relevance", "factuality", "completeness")
    assert vocabulary.tag([0, 1, 2]).text == "relevant, and some inaccuracies, and incomplete"
    assert vocabulary.tag([0, -1, 2]).text == "relevant, and incomplete"
    older = load_vocabulary("lfqa", 5).tag([0, 2, 4]).text
    assert older == "Most relevant and Moderately factual and Least complete"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_set_of_tags_loads(path: Path):
    loaded = 0
    for count in range(2, 11):
        try:
            vocabulary = load_vocabulary(path.stem, count)
        except UserError as error:
            assert "set quantiles to one of" in error.line()
            continue
        assert set(vocabulary.quantiles) == {count}
        loaded += 1
    assert loaded >= 2


def test_quark_tokens():
    single = tokens({"toxicity": 3}, "quark")
    assert single.tag([1]).tokens == (" _TREE_TOKEN_00001",)
    assert single.new_tokens == (
        " _TREE_TOKEN_00000",
        " _TREE_TOKEN_00001",
        " _TREE_TOKEN_00002",
        " _TREE_TOKEN_ZERO_COMMENTS",
    )
    several = tokens({"relevance": 2, "factuality": 3}, "quark_attributes")
    assert several.tag([1, 2]).tokens == ("_TREE_TOKEN_0_1", "_TREE_TOKEN_1_2")
    assert several.tag([-1, 0]).text == "_TREE_TOKEN_1_0"
    assert len(several.new_tokens) == 5
    assert tokens({"reward": 5}, "alt").tag([4]).text == "_QUANTILE_TOKEN_4_"
    with pytest.raises(UserError, match="serves one attribute"):
        tokens({"a": 2, "b": 2}, "quark")
    with pytest.raises(UserError, match="unknown token scheme"):
        tokens({"a": 2}, "oak")


def test_golden_quark_token_names():
    if not (shared := os.environ.get("RONDO_SHARED")):
        pytest.skip("RONDO_SHARED is not set: the goldens are not here")
    path = Path(shared) / "goldens" / "toxicity" / "collators_quark.json"
    vocabulary = tokens({"toxicity": 5}, "quark")
    named = set(re.findall(r'"( _TREE_TOKEN_[0-9A-Z_]+)"', path.read_text()))
    assert named == set(vocabulary.new_tokens)
    assert vocabulary.tag([2]).text == json.loads(path.read_text())["cat_tokens"][2]


def test_t25_any_number_of_tags_and_loud_mismatches():
    for count in range(2, 11):
        vocabulary = language({"quality": [f"level {i}" for i in range(count)]}, ", ")
        vocabulary.check({"quality": count})
        with pytest.raises(UserError, match=rf"{count + 1} quantiles of 'quality' but {count}"):
            vocabulary.check({"quality": count + 1})
        with pytest.raises(UserError, match="the scores of toxicity"):
            vocabulary.check({"toxicity": count})
    for words in (["one"], [f"{i}" for i in range(11)]):
        with pytest.raises(UserError, match="give 2 to 10"):
            language({"quality": words}, ", ")
    for words in (["good", "good"], ["good", " "]):
        with pytest.raises(UserError, match="blank or repeated"):
            language({"quality": words}, ", ")


def test_part_of_a_vocabulary():
    part = load_vocabulary("lfqa", 3).only(["completeness", "relevance"])
    assert part.tag([2, 0]).text == "incomplete, and relevant"
    with pytest.raises(UserError, match="no tags for charm"):
        part.only(["charm"])


def test_bad_vocabulary_files_say_what_is_wrong(tmp_path: Path):
    with pytest.raises(UserError, match="did you mean toxicity"):
        load_vocabulary("toxcity", 5)
    with pytest.raises(UserError, match="no tags for 4 quantiles"):
        load_vocabulary("toxicity", 4)
    for text, wanted in (
        ("2: {joiner: ', ', tags: {a: [x, y, z]}}", "2 quantiles of 'a' but 3 tags"),
        ("2: {tags: {a: [x, y]}}", "not a tag vocabulary"),
        ("two: {joiner: '', tags: {a: [x, y]}}", "not a tag vocabulary"),
        ("2: {joiner: '', tags: {a: [yes, no]}}", "not a tag vocabulary"),
        ("[", "not a YAML file"),
        ("", "not a tag vocabulary"),
    ):
        (tmp_path / "own.yaml").write_text(text)
        with pytest.raises(UserError, match=wanted):
            load_vocabulary("own", 2, tmp_path)


def test_distinct_tags_of_many_rows():
    vocabulary = load_vocabulary("lfqa", 3)
    rng = np.random.default_rng(5)
    quantiles = rng.integers(-1, 3, size=(500, 3)).astype(np.int8)
    index, found = vocabulary.tags(quantiles)
    assert len(found) == len({tag.text for tag in found}) == 64
    assert [found[i].quantiles for i in index] == [tuple(row) for row in quantiles.tolist()]


def test_strategy_names():
    assert parse_strategy("none", 3) == Strategy(0, "silent")
    assert parse_strategy("best", 3) == parse_strategy("best_of_3", 3) == Strategy(3, "silent")
    assert parse_strategy("best_of_2_all_attributes", 3) == Strategy(2, "drawn")
    with pytest.raises(UserError, match="did you mean best_of_1_all_attributes"):
        parse_strategy("best_of_1_all_atributes", 3)
    with pytest.raises(UserError, match="wants 4 attributes, the tag has 3"):
        parse_strategy("best_of_4", 3)
    with pytest.raises(UserError, match="unknown sampling strategy"):
        parse_strategy("best_of_0", 3)


def test_none_and_best():
    assert (vectors(parse_strategy("none", 2), [3, 3], SEEDS) == -1).all()
    assert (vectors(parse_strategy("best", 2), [3, 3], SEEDS) == 0).all()


@pytest.mark.parametrize("best", [1, 2])
def test_best_of_x_mentions_x_attributes_evenly(best: int):
    drawn = vectors(parse_strategy(f"best_of_{best}", 3), [3, 3, 3], SEEDS)
    assert ((drawn == 0).sum(axis=1) == best).all()
    assert ((drawn == -1).sum(axis=1) == 3 - best).all()
    assert np.abs((drawn == 0).mean(axis=0) - best / 3).max() < 0.02


@pytest.mark.parametrize(("best", "all_best"), [(1, 1 / 9), (2, 1 / 3)])
def test_best_of_x_all_attributes_draws_the_others_evenly(best: int, all_best: float):
    """Spec lfqa §6.5: for Q=3, X=1 asks for all at their best with probability 1/9, X=2 1/3."""
    drawn = vectors(parse_strategy(f"best_of_{best}_all_attributes", 3), [3, 3, 3], SEEDS)
    assert drawn.min() == 0
    assert ((drawn == 0).sum(axis=1) >= best).all()
    assert abs((drawn == 0).all(axis=1).mean() - all_best) < 0.02


def test_uniform_uses_each_attributes_own_quantiles():
    drawn = vectors(parse_strategy("uniform", 2), [2, 5], SEEDS)
    for column, count in enumerate([2, 5]):
        shares = np.bincount(drawn[:, column], minlength=count) / SEEDS.size
        assert np.abs(shares - 1 / count).max() < 0.02
    pairs = Counter(map(tuple, drawn.tolist()))
    assert len(pairs) == 10
    assert max(pairs.values()) < 1.3 * SEEDS.size / 10


def test_a_vector_depends_on_its_seed_alone():
    strategy = parse_strategy("best_of_1_all_attributes", 3)
    whole = vectors(strategy, [5, 5, 5], SEEDS)
    parts = [vectors(strategy, [5, 5, 5], part) for part in np.array_split(SEEDS, 7)]
    assert np.concatenate(parts).tolist() == whole.tolist()
    order = np.random.default_rng(1).permutation(SEEDS.size)
    assert vectors(strategy, [5, 5, 5], SEEDS[order]).tolist() == whole[order].tolist()


def test_one_draw_for_a_batch():
    strategy = parse_strategy("best_of_1_all_attributes", 3)
    drawn = vectors(strategy, [5, 5, 5], SEEDS[:20], rows_per_draw=8)
    for start in (0, 8, 16):
        assert (drawn[start : start + 8] == drawn[start]).all()
    assert drawn[0].tolist() == vectors(strategy, [5, 5, 5], SEEDS[:1])[0].tolist()


def test_control_cases_flip_one_attribute_at_a_time():
    cases = control_cases([2, 3])
    assert [case.vector for case in cases] == [(0, 0), (1, 0), (0, 0), (0, 1), (0, 2)]
    assert [(case.attribute, case.quantile) for case in cases][1:3] == [(0, 1), (1, 0)]
