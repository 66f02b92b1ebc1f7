"""From rows of samples and scores to rewards on tokens; their sum is that of the scores."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import END, tiny_tokenizer

from stages.generation.protocol import Decoding
from stages.rewards.lexicon import Lexicon
from stages.rewards.protocol import Scorable
from stages.rewards.scoring import score_rows
from stages.runtime.errors import UserError
from stages.settings.ppo import RewardSettings
from stages.text.conditioning import plain_ids
from stages.updating.rollouts import Earned, Rewarder, earned

TOKENIZER = tiny_tokenizer()
DECODING = Decoding(40, temperature=0.7, top_k=20)
SPANS, WHOLE = RewardSettings(place="spans"), RewardSettings(place="end")


def sample(text: str, name: str = "s1", finished: bool = True, **changes: Any) -> dict[str, Any]:
    ids = [*plain_ids(TOKENIZER, text), *([END] if finished else [])]
    return {
        "sample_id": name,
        "query_ids": [5, 6],
        "response": text,
        "response_ids": ids,
        "logprobs_raw": [-1.0] * len(ids),
        "logprobs_processed": [-0.5] * len(ids),
        "finish_reason": "stop" if finished else "length",
        "temperature": 0.699999988079071,  # 0.7 as the table's float32 gives it back
        "top_k": 20,
        "top_p": 1.0,
        **changes,
    }


def score(
    value: float | None, spans: list[tuple[int, int, float]] = (), scorer: str = "kind"
) -> dict[str, Any]:
    marked = [{"start": a, "end": b, "value": v} for a, b, v in spans]
    return {"sample_id": "s1", "scorer": scorer, "value": value, "spans": marked}


def earn(
    scores: list[dict[str, Any]],
    row: dict[str, Any] | None = None,
    better: str = "high",
    **settings: RewardSettings,
) -> Earned:
    settings = settings or {"kind": WHOLE}
    rewarder = Rewarder(TOKENIZER, settings, dict.fromkeys(settings, better))
    return earned([row or sample("the miller is kind")], scores, rewarder, DECODING)


def dense(found: Earned) -> dict[int, float]:
    (rollout,) = found.rollouts
    values: dict[int, float] = {}
    for token, value in rollout.rewards:
        values[token] = values.get(token, 0.0) + value
    return values


def test_a_whole_value_stands_on_the_last_token() -> None:
    row = sample("the miller is kind")
    last = len(row["response_ids"]) - 1
    assert row["response_ids"][last] == END
    assert dense(earn([score(0.8)], row)) == {last: 0.8}
    assert dense(earn([score(0.8)], row, better="low")) == {last: -0.8}
    how = RewardSettings(place="end", weight=2.0, shift=0.5)
    assert dense(earn([score(0.8)], row, kind=how)) == pytest.approx({last: 0.6})
    cut = sample("the miller is kind", finished=False)
    assert dense(earn([score(0.8)], cut)) == {last - 1: 0.8}
    assert not earn([score(0.8)], cut).rollouts[0].finished


def test_a_span_stands_on_the_last_token_that_spells_it() -> None:
    text = "the miller is kind, the baker is not"
    row = sample(text)
    at = text.index("baker")
    found = earn([score(1.0, [(0, 18, 0.7), (at, at + 5, -0.2)])], row, kind=SPANS)
    values = dense(found)
    for end, value in ((18, 0.7), (at + 5, -0.2)):
        (token,) = [t for t, v in values.items() if v == value]
        before, with_it = (TOKENIZER.decode(row["response_ids"][:t]) for t in (token, token + 1))
        assert len(before) < end <= len(with_it)
    rollout = found.rollouts[0]
    assert (rollout.logprobs_raw[0], rollout.logprobs_processed[0]) == (-1.0, -0.5)
    assert rollout.scores == (("kind", 1.0),)


@given(
    st.text(st.sampled_from("aé ßの\U0001f600,."), min_size=1, max_size=30).filter(str.strip),
    st.data(),
)
def test_the_sum_of_the_rewards_is_that_of_the_spans(text: str, data: st.DataObject) -> None:
    place = st.integers(0, len(text) - 1)
    cuts = data.draw(st.lists(st.tuples(place, place, st.floats(-5, 5)), max_size=6))
    spans = [(min(a, b), max(a, b) + 1, v) for a, b, v in cuts]
    total = sum(v for _, _, v in spans)
    how = RewardSettings(place="spans", weight=0.5)
    row = sample(text)
    found = dense(earn([score(total if spans else 0.0, spans)], row, kind=how))
    assert sum(found.values()) == pytest.approx(0.5 * total, abs=1e-6)
    assert all(0 <= token < len(row["response_ids"]) for token in found)


def test_several_scorers_add_up() -> None:
    row = sample("the miller is kind")
    last = len(row["response_ids"]) - 1
    scores = [score(0.5, scorer="a"), score(2.0, scorer="b"), score(9.0, scorer="watched")]
    found = earn(scores, row, a=WHOLE, b=RewardSettings(place="end", weight=0.1))
    assert dense(found) == pytest.approx({last: 0.7})
    assert found.rollouts[0].scores == (("a", 0.5), ("b", 2.0), ("watched", 9.0))


def test_the_scores_of_a_lexicon_are_rewards() -> None:
    """A scorer that is there, end to end: one word of weight -1, another of 0.5."""
    text = "you are kind and they are not kind"
    lexicon = Lexicon("tone", {"kind": 0.5, "not": -1.0})
    rows = score_rows({"tone": lexicon}, [Scorable("s1", "", text)])
    found = dense(earn(rows, sample(text), tone=SPANS))
    assert sorted(found.values()) == [-1.0, 0.5, 0.5]
    assert sum(found.values()) == pytest.approx(rows[0]["value"])


def test_an_answer_without_any_segment_earns_nothing() -> None:
    assert dense(earn([score(0.0)], sample(""), kind=SPANS)) == {}


def test_an_answer_that_could_not_be_judged_is_counted() -> None:
    rows = [sample("kind"), sample("not", name="s2")]
    scores = [score(None), {**score(0.3), "sample_id": "s2"}]
    rewarder = Rewarder(TOKENIZER, {"kind": WHOLE}, {"kind": "high"})
    found = earned(rows, scores, rewarder, DECODING)
    assert [r.example.example_id for r in found.rollouts] == ["s2"]
    assert found.unscored == 1


@pytest.mark.parametrize(
    ("row", "scores", "how", "words"),
    [
        ({}, [], WHOLE, "no score by 'kind'"),
        ({}, [score(0.5)], SPANS, "has a value but no spans"),
        ({}, [score(0.5, [(3, 99, 0.5)])], SPANS, "characters 3 to 99"),
        ({"response": "another text"}, [score(0.5, [(0, 3, 0.5)])], SPANS, "not what the token"),
        ({"temperature": 1.0}, [score(0.5)], WHOLE, "sampled with temperature 1, but"),
        ({"top_k": 50}, [score(0.5)], WHOLE, "sampled with top_k 50, but"),
        ({"top_p": 0.9}, [score(0.5)], WHOLE, "sampled with top_p 0.9, but"),
    ],
)
def test_rows_that_do_not_fit_are_one_line(
    row: dict[str, Any], scores: list[dict[str, Any]], how: RewardSettings, words: str
) -> None:
    with pytest.raises(UserError) as caught:
        earn(scores, sample("the miller is kind", **row), kind=how)
    line = caught.value.line()
    assert words in line
    assert "s1" in line
    assert "\n" not in line
