"""Trained scorers of both kinds of features, from ratings to a folder to scores."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.rewards.build import build_scorer, load_regression
from stages.rewards.ngrams import NgramSettings, fit_ngrams, write_ngrams
from stages.rewards.protocol import Scorable
from stages.rewards.regression import Description, Regression, save_regression
from stages.rewards.transformer_regression import (
    TransformerModel,
    micro_batches,
    new_transformer,
    rated_batch,
    rated_tokens,
    regression_loss,
    tokens,
    write_transformer,
)
from stages.runtime.errors import UserError
from stages.settings.scorers import LexiconScorer, RegressionScorer, WorldScorer
from stages.world import World
from tests.tiny_models import END, save_tiny_policy, tiny_gpt2, tiny_llama

CPU = torch.device("cpu")
KIND = ["you are kind", "the people are kind to you", "what a good morning", "well said, others"]
UNKIND = ["you are a fool", "the fool said that", "what a fool, you fool", "not this fool"]
TEXTS, RATINGS = KIND + UNKIND, [0.1, 0.0, 0.2, 0.1, 0.9, 0.8, 1.0, 0.7]
ROWS = [Scorable(f"s{i}", "they said: ", text) for i, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_policy(tmp_path_factory.mktemp("base"), tiny_gpt2())


def train(base: Path, steps: int) -> TransformerModel:
    model, tokenizer = new_transformer(base, "toxicity", "last", seed=0)
    batch = rated_batch(rated_tokens(model, tokenizer, TEXTS, RATINGS), CPU)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(steps):
        total, count = regression_loss(model, batch, "cross_entropy")
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
    return TransformerModel(model.eval(), tokenizer)


def test_a_transformer_learns_the_ratings_and_returns_from_disk(base: Path, tmp_path: Path) -> None:
    trained = train(base, 30)
    assert trained.predict(TEXTS) == pytest.approx(RATINGS, abs=0.15)
    description = Description("toxicity", "transformer", "none")
    save_regression(
        description,
        lambda folder: write_transformer(trained.model, trained.tokenizer, folder),
        tmp_path / "model",
    )
    loaded = load_regression(tmp_path / "model")
    found = [score.value for score in loaded.score(ROWS)]
    assert found == pytest.approx(trained.predict(TEXTS).tolist(), abs=1e-7)


@pytest.mark.parametrize("maker", [tiny_gpt2, tiny_llama])
def test_batches_and_padding_change_nothing(tmp_path: Path, maker) -> None:
    model, tokenizer = new_transformer(save_tiny_policy(tmp_path, maker()), "t", "last", seed=0)
    texts = [*TEXTS, "the baker and the miller talk " * 5, "é"]
    alone = [TransformerModel(model, tokenizer).predict([text])[0] for text in texts]
    for budget in (1, 50, 10_000):
        found = TransformerModel(model, tokenizer, batch_tokens=budget).predict(texts)
        assert found == pytest.approx(alone, abs=1e-5)
    assert max(alone) - min(alone) > 0.01


def test_the_value_is_read_at_the_end_token(base: Path) -> None:
    model, tokenizer = new_transformer(base, "t", "last", seed=0)
    (ids,) = tokens(model, tokenizer, ["you are kind"])
    assert ids[-1] == END and ids[:-1] == tokenizer("you are kind")["input_ids"]
    with torch.no_grad():
        hidden = model.backbone(torch.tensor([ids])).last_hidden_state[0, -1]
        truth = model.head(hidden).sigmoid().item()
    found = TransformerModel(model, tokenizer).predict(["you are kind"])
    assert found[0] == pytest.approx(truth, abs=1e-6)


def test_losses_are_their_closed_forms_and_add_up_over_micro_batches(base: Path) -> None:
    model, tokenizer = new_transformer(base, "t", "last", seed=0)
    rated = rated_tokens(model, tokenizer, TEXTS, RATINGS)
    p = torch.tensor(TransformerModel(model, tokenizer).predict(TEXTS), dtype=torch.float32)
    y = torch.tensor(RATINGS)
    truth = {
        "cross_entropy": -(y * p.log() + (1 - y) * (1 - p).log()).sum(),
        "mse": (p - y).square().sum(),
    }
    for objective, value in truth.items():
        whole, count = regression_loss(model, rated_batch(rated, CPU), objective)
        assert whole.item() == pytest.approx(value.item(), rel=1e-4) and count == len(TEXTS)
        parts = [
            regression_loss(model, rated_batch(part, CPU), objective)
            for part in micro_batches(rated, 25)
        ]
        assert len(parts) > 1 and sum(count for _, count in parts) == len(TEXTS)
        assert sum(total.item() for total, _ in parts) == pytest.approx(whole.item(), rel=1e-5)


@pytest.mark.parametrize("rating", [float("nan"), -0.1, 1.1])
def test_ratings_out_of_range_are_refused(base: Path, rating: float) -> None:
    model, tokenizer = new_transformer(base, "t", "last", seed=0)
    with pytest.raises(UserError, match="between 0 and 1"):
        rated_tokens(model, tokenizer, ["a"], [rating])


def save_ngrams(folder: Path, prompt: str) -> Regression:
    model = fit_ngrams(TEXTS * 5, RATINGS * 5, NgramSettings(), seed=0)
    description = Description("toxicity", "ngrams", prompt)
    save_regression(description, lambda scratch: write_ngrams(model, scratch), folder)
    return Regression(description, model)


@pytest.mark.parametrize("prompt", ["none", "prefix"])
def test_an_ngram_scorer_from_ratings_to_scores(tmp_path: Path, prompt: str) -> None:
    save_ngrams(tmp_path / "model", prompt)
    settings = RegressionScorer(
        kind="regression", attribute="toxicity", better="low", ratings="x", prompt=prompt
    )
    scorer = build_scorer(settings, tmp_path / "model")
    rows = [*ROWS, Scorable("blank", "you fool ", " ")]
    scores = list(scorer.score(rows))
    assert [score.sample_id for score in scores] == [row.sample_id for row in rows]
    values = [score.value for score in scores]
    assert values.pop() is None
    assert max(values[:4]) < min(values[4:])
    other = [Scorable(row.sample_id, "you fool, ", row.response) for row in ROWS]
    moved = [score.value for score in scorer.score(other)]
    assert (moved == values) == (prompt == "none")
    assert not scorer.judge_only and scorer.attributes == ("toxicity",)


def test_no_rows_give_no_scores(tmp_path: Path) -> None:
    scorer = save_ngrams(tmp_path / "model", "none")
    assert list(scorer.score([])) == []
    assert [s.value for s in scorer.score([Scorable("a", "p", "")])] == [None]


def test_a_nan_weight_stops_the_scoring(tmp_path: Path) -> None:
    save_ngrams(tmp_path / "model", "none")
    path = tmp_path / "model" / "ngrams.safetensors"
    vectors = load_file(path)
    save_file(vectors | {"weights": vectors["weights"] * float("nan")}, path)
    settings = RegressionScorer(kind="regression", attribute="t", better="low", ratings="x")
    with pytest.raises(UserError, match="finite number"):
        list(build_scorer(settings, tmp_path / "model").score(ROWS))


@pytest.mark.parametrize(
    "text",
    ["{}", "[1]", '{"attribute": 1', '{"attribute": "a", "features": "magic", "prompt": "none"}'],
)
def test_a_damaged_description_is_refused(tmp_path: Path, text: str) -> None:
    save_ngrams(tmp_path / "model", "none")
    (tmp_path / "model" / "scorer.json").write_text(text)
    with pytest.raises(UserError, match=r"scorer\.json"):
        load_regression(tmp_path / "model")


def test_a_scorer_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not found"):
        load_regression(tmp_path)
    settings = RegressionScorer(kind="regression", attribute="t", better="low", ratings="x")
    with pytest.raises(UserError, match="no trained model"):
        build_scorer(settings)


def test_a_lexicon_from_settings(tmp_path: Path) -> None:
    (tmp_path / "words.yaml").write_text("fool: 1\n")
    settings = LexiconScorer(
        kind="lexicon", attribute="t", better="low", words=str(tmp_path / "words.yaml")
    )
    values = [score.value for score in build_scorer(settings).score(ROWS)]
    assert values == [0, 0, 0, 0, 1, 1, 2, 1]


def test_the_worlds_truth_and_the_worlds_words_from_settings() -> None:
    truth = build_scorer(WorldScorer(kind="world", attribute="t", axis="toxicity", better="low"))
    words = build_scorer(LexiconScorer(kind="lexicon", attribute="t", better="low", words="world"))
    assert truth.judge_only and not words.judge_only
    world = World.load()
    unkind = max(world.lexicon_words(), key=lambda word: world.lexicon_words()[word])
    rows = [Scorable("a", "", "The bread was good."), Scorable("b", "", f"You are {unkind}.")]
    for row, judged, counted in zip(rows, truth.score(rows), words.score(rows), strict=True):
        assert judged.value == world.toxicity(row.prompt, row.response)
        assert (counted.value > 0) == (row.sample_id == "b")
