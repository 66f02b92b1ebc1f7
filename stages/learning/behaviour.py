"""The distribution that an answer was sampled from, as a function of a model's logits.

An importance ratio compares two policies under one distribution: the model's own (all defaults),
or the processed one that the sampler drew from. Under top-k or top-p the tokens that could be
drawn are those that the *sampling* policy left in. They are found once, before anything is
learnt, and kept: the ratio of a drawn token is then always defined, and the filter does not move
under the policy while it learns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

Filter = Callable[[Tensor], Tensor]
"""Log-probabilities [N, V], those of what is forbidden -inf, to the ids [N, K] that stay under
temperature, top-k and top-p; -1 fills short rows."""


class TokenScores(NamedTuple):
    """Log-probability [N] of each drawn token, and the entropy [N] where it was drawn, in nats."""

    logprobs: Tensor
    entropy: Tensor


@dataclass(frozen=True)
class Behaviour:
    """Order of the processors: forbidden tokens and minimum length, temperature, filter.

    ``end_ids`` are forbidden on the first ``min_new_tokens`` tokens of an answer. The defaults
    are the model's own distribution.
    """

    temperature: float = 1.0
    forbidden: tuple[int, ...] = ()
    end_ids: tuple[int, ...] = ()
    min_new_tokens: int = 0
    keep: Filter | None = None

    def support(self, logits: Tensor, places: Tensor, targets: Tensor) -> Tensor | None:
        """The ids [N, K] that could be drawn, -1 in short rows; None: no filter.

        ``places`` [N] is each token's place in its answer, from 0. The drawn token is always
        among them: sampler and trainer may round differently at the edge of a filter.
        """
        if self.keep is None:
            return None
        ids = self.keep(self._allowed(logits.log_softmax(dim=1), places))
        missing = (ids != targets[:, None]).all(dim=1)
        if not bool(missing.any()):
            return ids
        return torch.cat([ids, torch.where(missing, targets, -1)[:, None]], dim=1)

    def logprobs(
        self, logits: Tensor, targets: Tensor, places: Tensor, support: Tensor | None
    ) -> Tensor:
        """Log-probabilities [N] of the drawn tokens; -inf for one that could not be drawn."""
        drawn, weights = self._weights(logits, targets, places, support)
        return drawn - weights.logsumexp(dim=1)

    def scores(
        self, logits: Tensor, targets: Tensor, places: Tensor, support: Tensor | None
    ) -> TokenScores:
        """The same with the entropy of what could be drawn."""
        drawn, weights = self._weights(logits, targets, places, support)
        log_probs = weights.log_softmax(dim=1)
        # 0 * -inf is no number, though an impossible token adds nothing to the entropy.
        finite = log_probs.masked_fill(log_probs == -torch.inf, 0.0)
        entropy = -(log_probs.exp() * finite).sum(dim=1)
        return TokenScores(drawn - weights.logsumexp(dim=1), entropy)

    def _weights(
        self, logits: Tensor, targets: Tensor, places: Tensor, support: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Log-weight of the drawn tokens [N] and of all that could be drawn [N, C]."""
        scaled = logits if self.temperature == 1.0 else logits / self.temperature
        column = targets[:, None]
        if self.keep is None:
            weights = self._allowed(scaled, places)
            return weights.gather(1, column).squeeze(1), weights
        if support is None:
            raise ValueError("a filtered distribution needs the tokens that stayed")
        ids = support.long()
        weights = scaled.gather(1, ids.clamp(min=0)).masked_fill(ids < 0, -torch.inf)
        return scaled.gather(1, column).squeeze(1), weights

    def _allowed(self, logits: Tensor, places: Tensor) -> Tensor:
        if self.forbidden:
            columns = torch.tensor(self.forbidden, device=logits.device)
            logits = logits.index_fill(1, columns, -torch.inf)
        if self.min_new_tokens > 0 and self.end_ids:
            ends = torch.tensor(self.end_ids, device=logits.device)
            short = logits.index_fill(1, ends, -torch.inf)
            logits = torch.where((places < self.min_new_tokens)[:, None], short, logits)
        return logits


RAW = Behaviour()
"""The model's own distribution: temperature 1, nothing filtered or forbidden."""
