"""From rows of samples and scores to rollouts: what each answer earned, on its tokens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.generation.protocol import Decoding
from stages.learning.examples import Example
from stages.learning.rollouts import Rollout
from stages.rewards.protocol import Span
from stages.runtime.errors import UserError
from stages.settings.ppo import RewardSettings
from stages.text.placement import span_values
from stages.text.token_ranges import token_ranges

SAMPLE_COLUMNS = [
    *("sample_id", "query_ids", "response", "response_ids", "logprobs_raw"),
    *("logprobs_processed", "finish_reason", "temperature", "top_k", "top_p"),
]
SCORE_COLUMNS = ["sample_id", "scorer", "value", "spans"]

Rewards = list[tuple[int, float]]


@dataclass(frozen=True)
class Rewarder:
    """Puts scores on tokens.

    ``settings`` and ``better`` (``high`` or ``low``) are by scorer. A span's value stands on the
    last token of the span, any other on the answer's last token.
    """

    tokenizer: Any
    settings: Mapping[str, RewardSettings]
    better: Mapping[str, str]

    def rewards(self, sample: Mapping[str, Any], scores: Mapping[str, Any]) -> Rewards | None:
        """(token, value) pairs of one answer; None where a scorer could not judge it."""
        found: Rewards = []
        for name, how in self.settings.items():
            score = scores[name]
            if score["value"] is None:
                return None
            weight = how.weight if self.better[name] == "high" else -how.weight
            if how.place == "end":
                last = len(sample["response_ids"]) - 1
                found.append((last, weight * (score["value"] - how.shift)))
            else:
                found += self._on_spans(sample, score, weight, name)
        return found

    def _on_spans(
        self, sample: Mapping[str, Any], score: Mapping[str, Any], weight: float, name: str
    ) -> Rewards:
        spans = [Span(**span) for span in score["spans"]]
        if not spans and score["value"] != 0.0:
            raise UserError(
                f"scorer {name!r} has a value but no spans",
                f"sample {sample['sample_id']}",
                f"set update.rewards.{name}.place: end",
            )
        if not spans:
            return []
        text = sample["response"]
        try:
            ranges = token_ranges(self.tokenizer, sample["response_ids"], text)
            values = span_values(spans, ranges, text)
        except ValueError as error:
            where = f"sample {sample['sample_id']}, scorer {name}"
            raise UserError(str(error), where, "score the answers as they were sampled") from None
        return [(token, weight * value) for token, value in enumerate(values) if value]


@dataclass(frozen=True)
class Earned:
    """Rollouts in the order of their samples, and how many samples a scorer could not judge."""

    rollouts: list[Rollout]
    unscored: int


def earned(
    samples: Iterable[Mapping[str, Any]],
    scores: Iterable[Mapping[str, Any]],
    rewarder: Rewarder,
    decoding: Decoding,
) -> Earned:
    """Join samples and scores. Samples of another decoding, or without their scores: UserError."""
    judged: dict[str, dict[str, Any]] = {}
    for score in scores:
        judged.setdefault(score["sample_id"], {})[score["scorer"]] = score
    rollouts: list[Rollout] = []
    unscored = 0
    for sample in samples:
        _check_decoding(sample, decoding)
        mine = judged.get(sample["sample_id"], {})
        missing = [name for name in rewarder.settings if name not in mine]
        if missing:
            raise UserError(
                f"no score by {missing[0]!r}",
                f"sample {sample['sample_id']}",
                "give the scores of these samples",
            )
        rewards = rewarder.rewards(sample, mine)
        if rewards is None:
            unscored += 1
        else:
            rollouts.append(_rollout(sample, mine, rewards))
    return Earned(rollouts, unscored)


def _rollout(sample: Mapping[str, Any], scores: Mapping[str, Any], rewards: Rewards) -> Rollout:
    query = tuple(sample["query_ids"])
    return Rollout(
        Example(sample["sample_id"], query, tuple(sample["response_ids"]), query),
        tuple(sample["logprobs_raw"]),
        tuple(sample["logprobs_processed"]),
        tuple(rewards),
        sample["finish_reason"] == "stop",
        tuple(
            (name, float(score["value"]))
            for name, score in sorted(scores.items())
            if score["value"] is not None
        ),
    )


def _check_decoding(sample: Mapping[str, Any], decoding: Decoding) -> None:
    for name in ("temperature", "top_k", "top_p"):
        wanted = getattr(decoding, name)
        if np.float32(sample[name]) != np.float32(wanted):
            raise UserError(
                f"sampled with {name} {sample[name]:g}, but the recipe says {wanted:g}",
                f"sample {sample['sample_id']}",
                "importance ratios need the decoding that was sampled with",
            )
