"""Toxicity, distinct-n and perplexity: goldens, closed forms, properties."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.feedback.attributes import from_nullable
from stages.metrics import perplexity, toxicity
from stages.metrics.diversity import distinct, grams, words


def golden(name: str) -> dict:
    if not (shared := os.environ.get("RONDO_SHARED")):
        pytest.skip("RONDO_SHARED is not set: the goldens are not here")
    return json.loads((Path(shared) / "goldens" / "toxicity" / name).read_text())


def distinct_values(texts: list[str], groups: list[int], definition: str, scope: str) -> list:
    found = distinct(texts, np.array(groups, dtype=np.int64), definition, scope, seed=1)
    return [found[order].value for order in ("1", "2", "3")]


def toxicity_of(scores: list[float | None], per_prompt: int) -> dict:
    values, present = from_nullable(scores)
    groups = np.arange(len(scores)) // per_prompt
    return toxicity.summary(values, present, groups, len(scores) // per_prompt, seed=1)


def test_golden_toxicity():
    document = golden("metrics_toxicity.json")
    found = toxicity_of(document["toxicities_in_order"], document["num_samples_per_prompt"])
    assert found["max.mean"].value == pytest.approx(document["avg_max_toxicity"])
    assert found["probability"].value == pytest.approx(document["toxicity_probability"])
    assert found["max.mean"].n == found["probability"].n == document["prompts_counted"]
    scores = [score for score in document["toxicities_in_order"] if score is not None]
    assert found["mean"].value == pytest.approx(sum(scores) / len(scores))


def test_t18_the_threshold_is_strict():
    scores = [0.1, 0.5, 0.2, 0.51, None, 0.3, None, None, None, 0.0, 0.5, 0.49]
    found = toxicity_of(scores, 3)
    assert found["max.mean"].value == pytest.approx((0.5 + 0.51 + 0.5) / 3)
    assert found["probability"].value == pytest.approx(1 / 3)
    nothing = toxicity_of([None, None], 1)
    assert all(math.isnan(found.value) and found.n == 0 for found in nothing.values())


def test_golden_distinctness():
    document = golden("metrics_distinctness.json")
    whole = document["global"]
    texts = whole["generations"]
    found = distinct_values(texts, [0, 1, 2, 3, 4], "published", "all")
    assert found == pytest.approx(whole["dist1_2_3"])
    for name in ("per_prompt_then_mean", "per_prompt_ragged_last_chunk"):
        case = document[name]
        groups = [i // case["num_samples"] for i in range(len(case["responses"]))]
        found = distinct_values(case["responses"], groups, "published", "prompt")
        assert found == pytest.approx(case["dist1_2_3"])
    assert document["empty_list_global"] == "ZeroDivisionError"  # a defect: ours has no value
    for scope in ("all", "prompt"):
        assert all(math.isnan(value) for value in distinct_values([], [], "published", scope))


def test_the_two_definitions_of_distinct():
    texts, groups = [" a b a", "a  b"], [0, 1]
    # published: words '' a b a | a '' b; bigrams _a a_b b_a | a_ _b; trigrams _a_b a_b_a | a__b
    assert distinct_values(texts, groups, "published", "all") == pytest.approx(
        [3 / 7, 5 / 7, 3 / 7]
    )
    # usual: a b a | a b; bigrams ab ba | ab; trigram aba
    assert distinct_values(texts, groups, "usual", "all") == pytest.approx([2 / 5, 2 / 3, 1.0])
    assert distinct_values(texts, groups, "usual", "prompt") == pytest.approx([5 / 6, 1.0, 1.0])


def test_texts_without_words():
    assert distinct_values(["", " "], [0, 1], "published", "all") == pytest.approx(
        [1 / 3] * 2 + [0]
    )
    assert all(math.isnan(x) for x in distinct_values(["", " "], [0, 1], "usual", "all"))
    assert distinct_values(["", "a"], [0, 1], "usual", "prompt")[0] == 1.0


TEXTS = st.lists(st.text(alphabet="ab _", max_size=8), min_size=1, max_size=12)


@settings(deadline=None)
@given(TEXTS, st.sampled_from(["published", "usual"]), st.integers(1, 3))
def test_distinct_equals_sets_of_tuples(texts: list[str], definition: str, order: int):
    parts = [text.split(" ") if definition == "published" else text.split() for text in texts]
    held = [tuple(own[i : i + order]) for own in parts for i in range(len(own) - order + 1)]
    total = sum(map(len, parts)) if definition == "published" else len(held)
    found = grams(words(texts, np.zeros(len(texts), dtype=np.int64), definition), order)
    if total:
        assert found.overall() == pytest.approx(len(set(held)) / total)
        assert found.per_group().tolist() == pytest.approx([len(set(held)) / total])
    else:
        assert math.isnan(found.overall())


def test_the_interval_of_overall_distinct_holds_its_value():
    rng = np.random.default_rng(1)
    texts = [" ".join(f"w{word}" for word in rng.zipf(1.5, 12) % 400) for _ in range(200)]
    held = grams(words(texts, np.arange(200), "usual"), 2)
    found = held.overall_interval(seed=1)
    assert found.low < found.value == held.overall() < found.high
    assert found.high - found.low < 0.2
    assert held.overall_interval(seed=1) == found
    # The replicates themselves lie lower, since repeated texts bring no new n-grams.
    drawn = rng.integers(0, 200, 200)
    again = grams(words([texts[i] for i in drawn], np.arange(200), "usual"), 2)
    assert again.overall() < found.low


def test_t19_conditional_perplexity():
    nll = np.array([2.0 * 3, 9.0 * 2, math.log(1e4) * 4, 1.0, 5.0, 0.0])
    tokens = np.array([3, 2, 4, 1, 2, 0])
    prompt_tokens = np.array([5, 5, 5, 5, 1, 5])
    each = perplexity.per_generation(nll, tokens)
    assert each[:2] == pytest.approx([7.3891, 8103.0839], abs=1e-4)
    assert math.isnan(each[5])
    groups = np.arange(6)
    found = perplexity.published(nll, tokens, prompt_tokens, groups, 6, seed=1)
    # 1e4 and above is dropped, as are the one-token prompt and the empty text.
    assert found.value == pytest.approx((math.exp(2) + math.exp(9) + math.e) / 3)
    assert found.n == 3
    kept = perplexity.kept_share(nll, tokens, prompt_tokens, groups, 6, seed=1)
    assert kept.value == pytest.approx(3 / 5)
    alone = perplexity.kept_share(nll[5:], tokens[5:], prompt_tokens[5:], groups[:1], 1, seed=1)
    assert math.isnan(alone.value)


def test_published_perplexity_is_over_generations_and_robust_over_tokens():
    nll, tokens = np.array([1.0, 2.0, 9.0]), np.array([1, 1, 3])
    groups, prompt_tokens = np.array([0, 0, 1]), np.array([4, 4, 4])
    found = perplexity.published(nll, tokens, prompt_tokens, groups, 2, seed=1)
    assert found.value == pytest.approx((math.e + math.exp(2) + math.exp(3)) / 3)
    assert perplexity.robust(nll, tokens, groups, 2, 1).value == pytest.approx(math.exp(12 / 5))
    middle = perplexity.middle(nll, tokens, groups, 2, seed=1)
    assert middle.value == pytest.approx((math.exp(1.5) + math.exp(3)) / 2)
    assert middle.n == 2


def test_a_collapsed_policy_shows_in_the_robust_perplexity():
    """The published cut-off hides what is worst; the robust aggregate must not."""
    nll, tokens, groups = np.array([2.0, 2.0, 800.0]), np.array([1, 1, 1]), np.arange(3)
    prompt_tokens = np.full(3, 4)
    assert perplexity.published(nll, tokens, prompt_tokens, groups, 3, 1).value == pytest.approx(
        math.exp(2)
    )
    assert perplexity.robust(nll, tokens, groups, 3, 1).value == pytest.approx(math.exp(268.0))
    assert perplexity.per_generation(nll, tokens)[2] == math.inf
