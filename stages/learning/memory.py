"""What PPO remembers from one batch of answers to the next, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from stages.learning.controllers import Controller
from stages.learning.moments import Moments


@dataclass(frozen=True)
class Limit:
    """Ends learning once the mean KL to the reference, in nats per answer, was above ``kl`` in
    ``times`` batches of answers, not necessarily in a row (long-form QA spec §5.5).
    """

    kl: float
    times: int


@dataclass
class Memory:
    """What lives on beside weights and optimizer.

    ``kl`` is the coefficient of the penalty, ``batches`` how many were learnt from, ``steps`` the
    optimizer steps of earlier rounds, ``moments`` those of the answers' rewards, ``ended`` why
    learning ends. ``log`` has what each batch of this round measured.
    """

    kl: float
    batches: int = 0
    steps: int = 0
    strikes: int = 0
    moments: Moments = field(default_factory=Moments)
    ended: str | None = None
    log: list[dict[str, float]] = field(default_factory=list)

    def note(
        self, kl: float, answers: int, controller: Controller | None, limit: Limit | None
    ) -> None:
        """Count a batch of ``answers`` whose mean KL was ``kl``: the next coefficient, the end."""
        self.batches += 1
        if controller is not None:
            self.kl = controller.moved(self.kl, kl, answers)
        if limit is None or kl <= limit.kl:
            return
        self.strikes += 1
        if self.strikes >= limit.times:
            self.ended = (
                f"KL to the reference was above {limit.kl:g} nats per answer in {self.strikes} "
                f"batches of answers, in the last {kl:.4g}"
            )

    def to_dict(self) -> dict[str, Any]:
        """As a JSON value."""
        return asdict(self)

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Memory:
        """What ``to_dict`` gave."""
        return Memory(**{**value, "moments": Moments(**value["moments"])})
