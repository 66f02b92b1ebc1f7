"""The n-gram scorer learns, ranks unseen texts, and comes back from disk as it was."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit

from stages.rewards.ngram_features import Featurizer, char_pieces, learn_block, normal, word_pieces
from stages.rewards.ngrams import (
    NgramSettings,
    calibrate,
    feature_effect,
    fit_ngrams,
    read_ngrams,
    write_ngrams,
)
from stages.runtime.errors import UserError

BAD = {"rotten": 2.5, "foolish": 2.0, "beastly": 3.0, "lazy": 1.0}
NEUTRAL = ["the", "baker", "miller", "river", "walks", "sells", "bread", "from", "market"]


def comments(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    """Texts of neutral words with some bad ones; the rating is a sigmoid of their badness."""
    noise = np.random.default_rng(seed)
    texts, ratings = [], []
    for _ in range(count):
        bad = list(noise.choice(list(BAD), size=noise.integers(0, 3)))
        words = [*noise.choice(NEUTRAL, size=8), *bad]
        noise.shuffle(words)
        texts.append(" ".join(words))
        ratings.append(expit(sum(BAD[word] for word in bad) - 2 + noise.normal(0, 0.3)))
    return texts, np.array(ratings)


SETTINGS = NgramSettings()
TEXTS, RATINGS = comments(400, 0)


@pytest.fixture(scope="module")
def model():
    return fit_ngrams(TEXTS, RATINGS, SETTINGS, seed=0)


def test_pieces_of_known_text() -> None:
    assert list(word_pieces("go, you", 1, 2)) == ["go", ",", "you", "go ,", ", you"]
    assert list(char_pieces("ab", 3, 5)) == [" ab", "ab ", " ab "]
    assert list(char_pieces("a", 4, 5)) == [" a "]
    assert normal("ＦＯＯＬ ﬁne") == "fool fine"


def test_features_are_weighed_by_rarity_and_of_unit_length() -> None:
    texts = ["a b", "a c", "a a a"]
    block = learn_block(texts, "word", (1, 1), least=1, most=10)
    assert block.grams == ("a", "b", "c")
    np.testing.assert_allclose(block.idf, 1 + np.log(4 / np.array([4, 2, 2])))
    rows = Featurizer([block]).rows(["a b b", "a", "never", ""]).toarray()
    b = 1 + np.log(2)
    np.testing.assert_allclose(rows[0], np.array([1, b, 0]) / np.hypot(1, b))
    np.testing.assert_allclose(rows[1:], [[1, 0, 0], [0, 0, 0], [0, 0, 0]])


def test_the_commonest_features_are_kept() -> None:
    texts = ["a b c", "a b", "a d", "e"]
    assert learn_block(texts, "word", (1, 1), 2, 10).grams == ("a", "b")
    assert learn_block(texts, "word", (1, 1), 1, 3).grams == ("a", "b", "c")


def test_effect_is_the_z_score_of_a_features_ratings() -> None:
    block = learn_block(["bad x", "bad", "x", "y"], "word", (1, 1), 1, 10)
    rows = Featurizer([block]).rows(["bad x", "bad", "x", "y"])
    ratings = np.array([1.0, 1.0, 0.0, 0.0])
    effect = feature_effect(rows, ratings, NgramSettings(floor=0.1))
    excess = np.array([1.0, 0.0, 0.5])  # bad: 2 texts above by 0.5; x: 1 above, 1 below; y
    np.testing.assert_allclose(effect, 0.1 + excess / (np.sqrt([3, 3, 2]) * 0.5))


def test_it_ranks_texts_it_never_saw(model) -> None:
    texts, ratings = comments(300, 1)
    found = model.predict(texts)
    assert np.corrcoef(found, ratings)[0, 1] > 0.9
    assert found.min() > 0 and found.max() < 1
    assert abs(found.mean() - ratings.mean()) < 0.05
    # Inside of words: a disguised spelling still counts.
    plain, bad = model.predict(["the baker sells breads", "the baker sells rottenness"])
    assert bad > plain + 0.1


def test_a_texts_value_is_its_own(model) -> None:
    texts = [*comments(20, 2)[0], "", "unseen", "é🥚<script>\0"]
    together = model.predict(texts)
    alone = [model.predict([text])[0] for text in texts]
    np.testing.assert_allclose(together, alone, atol=1e-12)
    assert np.isfinite(together).all()


def test_calibration_recovers_the_sigmoid_that_made_the_ratings() -> None:
    raw = np.linspace(-2, 2, 101)
    slope, bias = calibrate(raw, expit(1.7 * raw - 0.4))
    assert (slope, bias) == pytest.approx((1.7, -0.4), abs=1e-3)
    slope, _ = calibrate(raw, expit(-1.7 * raw))
    assert 0 < slope < 0.01


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, model) -> None:
    for name, fitted in (("a", model), ("b", fit_ngrams(TEXTS, RATINGS, SETTINGS, seed=0))):
        (tmp_path / name).mkdir()
        write_ngrams(fitted, tmp_path / name)
    for file in ("ngrams.json", "ngrams.safetensors"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    again = fit_ngrams(TEXTS, RATINGS, SETTINGS, seed=1)
    assert again.slope != model.slope


def test_saved_and_loaded_it_gives_the_same_values(tmp_path: Path, model) -> None:
    write_ngrams(model, tmp_path)
    texts = comments(50, 3)[0]
    np.testing.assert_array_equal(read_ngrams(tmp_path).predict(texts), model.predict(texts))


@pytest.mark.parametrize("harm", ["missing", "cut", "grams", "idf"])
def test_a_damaged_folder_is_refused(tmp_path: Path, model, harm: str) -> None:
    write_ngrams(model, tmp_path)
    weights, grams = tmp_path / "ngrams.safetensors", tmp_path / "ngrams.json"
    if harm == "missing":
        weights.unlink()
    elif harm == "cut":
        weights.write_bytes(weights.read_bytes()[:-50])
    else:
        found = json.loads(grams.read_text())
        found["blocks"][0]["grams" if harm == "grams" else "kind"] = ["x"]
        grams.write_text(json.dumps(found))
    with pytest.raises(UserError, match="damaged"):
        read_ngrams(tmp_path)


@pytest.mark.parametrize(
    ("ratings", "says"),
    [
        ([float("nan")] + [0.5] * 29, "between 0 and 1"),
        ([1.2] + [0.5] * 29, "between 0 and 1"),
        ([0.5] * 30, "equal"),
        ([0.0, 1.0], "too few"),
    ],
)
def test_ratings_that_cannot_be_learned_are_refused(ratings: list[float], says: str) -> None:
    with pytest.raises(UserError, match=says):
        fit_ngrams(TEXTS[: len(ratings)], ratings, SETTINGS, seed=0)
