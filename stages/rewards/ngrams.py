"""A regression scorer on n-grams: ridge on features weighted by their effect, calibrated.

The weighting follows the idea of NB-SVM (Wang and Manning 2012, Baselines and Bigrams), which
scales each feature by its naive Bayes log-count ratio before a linear model; for ratings between
0 and 1 the ratio becomes the z-score of the feature's mean rating.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy import optimize, sparse
from scipy.sparse.linalg import lsqr
from scipy.special import expit

from stages.rewards.ngram_features import Block, Featurizer, learn_block, unit_rows
from stages.runtime.atomic import read_json, write_json
from stages.runtime.errors import UserError
from stages.settings.strict import Strict

WEIGHTS = "ngrams.safetensors"
GRAMS = "ngrams.json"
LEAST_TEXTS = 20

Vector = NDArray[np.float64]
Size = Annotated[int, Field(ge=1)]


class NgramSettings(Strict):
    """What the features are and how strongly the weights are held near zero."""

    words: tuple[Size, Size] = (1, 1)
    chars: tuple[Size, Size] = (3, 5)
    least_texts_word: Size = Field(1, description="a word counts if so many texts hold it")
    least_texts_char: Size = Field(2, description="a piece counts if so many texts hold it")
    most_features: Size = Field(200_000, description="of each kind, the commonest")
    floor: float = Field(0.3, gt=0, description="weight of a feature without any effect")
    cap: float = Field(8.0, gt=0, description="largest z-score that counts")
    ridge: float = Field(0.3, gt=0)
    folds: Annotated[int, Field(ge=2)] = 5


@dataclass(frozen=True)
class NgramModel:
    """Value of a text = sigmoid(slope * (features * effect, at unit length) . weights + bias).

    ``effect`` and ``weights`` [columns] in float64.
    """

    featurizer: Featurizer
    effect: Vector
    weights: Vector
    slope: float
    bias: float

    def predict(self, texts: Sequence[str]) -> Vector:
        """Values [texts] between 0 and 1, each independent of the other texts."""
        rows = weighted(self.featurizer.rows(texts), self.effect)
        return expit(self.slope * (rows @ self.weights) + self.bias)


def fit_ngrams(
    texts: Sequence[str], targets: Sequence[float], settings: NgramSettings, seed: int
) -> NgramModel:
    """Train on texts and their ratings between 0 and 1; the same seed gives the same model.

    The sigmoid is fitted on predictions of texts left out of the fit (Platt 1999), so that it
    knows how far the ridge can be trusted. Raises UserError for ratings that cannot be learned.
    """
    truth = _checked(texts, targets)
    most = settings.most_features
    words = learn_block(texts, "word", settings.words, settings.least_texts_word, most)
    chars = learn_block(texts, "char", settings.chars, settings.least_texts_char, most)
    featurizer = Featurizer([words, chars])
    rows = featurizer.rows(texts)
    slope, bias = calibrate(_left_out(rows, truth, settings, seed), truth)
    effect, weights = _solve(rows, truth, settings)
    return NgramModel(featurizer, effect, weights, slope, bias)


def feature_effect(rows: sparse.csr_matrix, truth: Vector, settings: NgramSettings) -> Vector:
    """How much each feature's texts differ in rating from all texts: floor + capped |z|."""
    present = (rows > 0).astype(np.float64)
    holding = np.asarray(present.sum(axis=0)).ravel()
    excess = present.T @ truth - holding * truth.mean()
    z = excess / (np.sqrt(holding + 1.0) * truth.std())
    return settings.floor + np.minimum(np.abs(z), settings.cap)


def weighted(rows: sparse.csr_matrix, effect: Vector) -> sparse.csr_matrix:
    """Features times their effect, at unit length."""
    return unit_rows((rows @ sparse.diags(effect)).tocsr())


def calibrate(raw: Vector, truth: Vector) -> tuple[float, float]:
    """Slope and bias of the sigmoid with the least cross-entropy between raw values and ratings.

    The slope is positive by construction: calibration may flatten the ranking, never turn it.
    """

    def loss(at: Vector) -> tuple[float, Vector]:
        score = np.exp(at[0]) * raw + at[1]
        wrong = expit(score) - truth
        value = np.mean(np.logaddexp(0.0, score) - truth * score)
        return float(value), np.array([np.mean(wrong * np.exp(at[0]) * raw), np.mean(wrong)])

    share = np.clip(truth.mean(), 1e-3, 1 - 1e-3)
    start = np.array([np.log(4.0), np.log(share / (1 - share))])
    found = optimize.minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[(-10.0, 10.0), (None, None)]
    )
    return float(np.exp(found.x[0])), float(found.x[1])


def write_ngrams(model: NgramModel, folder: Path) -> None:
    """Write the model into an existing folder: vectors as safetensors, n-grams as JSON."""
    blocks = model.featurizer.blocks
    vectors = {f"idf.{block.kind}": block.idf for block in blocks}
    save_file(vectors | {"effect": model.effect, "weights": model.weights}, folder / WEIGHTS)
    described = [
        {"kind": block.kind, "sizes": list(block.sizes), "grams": list(block.grams)}
        for block in blocks
    ]
    write_json(folder / GRAMS, {"blocks": described, "slope": model.slope, "bias": model.bias})


def read_ngrams(folder: Path) -> NgramModel:
    """Read what ``write_ngrams`` wrote; a damaged folder raises UserError."""
    found = read_json(folder / GRAMS, "n-gram list")
    try:
        vectors = load_file(folder / WEIGHTS)
        blocks = [
            Block(
                block["kind"],
                (block["sizes"][0], block["sizes"][1]),
                tuple(block["grams"]),
                vectors[f"idf.{block['kind']}"],
            )
            for block in found["blocks"]
        ]
        model = NgramModel(
            Featurizer(blocks), vectors["effect"], vectors["weights"], found["slope"], found["bias"]
        )
        # A wrong length would show only when the first text is scored.
        model.predict([""])
    except (OSError, SafetensorError, KeyError, TypeError, IndexError, ValueError) as error:
        raise UserError(
            f"scorer is damaged ({error})", folder / WEIGHTS, "train the scorer again"
        ) from None
    return model


def _left_out(rows: sparse.csr_matrix, truth: Vector, settings: NgramSettings, seed: int) -> Vector:
    """Raw predictions of each text by a fit that did not see it."""
    fold = np.random.default_rng(seed).permutation(len(truth)) % settings.folds
    raw = np.empty(len(truth))
    for number in range(settings.folds):
        out = fold == number
        effect, weights = _solve(rows[~out], truth[~out], settings)
        raw[out] = weighted(rows[out], effect) @ weights
    return raw


def _solve(
    rows: sparse.csr_matrix, truth: Vector, settings: NgramSettings
) -> tuple[Vector, Vector]:
    """Effect and ridge weights; the constant is left to the calibration."""
    effect = feature_effect(rows, truth, settings)
    found = lsqr(
        weighted(rows, effect), truth - truth.mean(), damp=settings.ridge**0.5, atol=1e-6, btol=1e-6
    )
    return effect, found[0]


def _checked(texts: Sequence[str], targets: Sequence[float]) -> Vector:
    truth = np.asarray(targets, dtype=np.float64)
    if len(texts) != len(truth):
        raise ValueError(f"{len(texts)} texts and {len(truth)} ratings")
    if len(truth) < LEAST_TEXTS:
        raise UserError(
            f"{len(truth)} ratings are too few", None, f"give at least {LEAST_TEXTS} rated texts"
        )
    if not np.all((truth >= 0) & (truth <= 1)):
        raise UserError(
            "a rating is missing or not between 0 and 1", None, "drop or rescale such ratings"
        )
    if truth.std() == 0:
        raise UserError("all ratings are equal", None, "give texts of different ratings")
    return truth
