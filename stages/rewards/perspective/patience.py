"""When to ask again, when to give a text up, and when to end the job.

A failure is a text's own, or the service's. While others are answered a text that fails again and
again is given up; while nobody is answered nothing is, and the job ends when that lasts too long.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import dataclass

from tenacity import RetryCallState, wait_random_exponential

from stages.rewards.perspective.replies import Judged, Refused, Rejected, Trouble
from stages.runtime.errors import Unavailable
from stages.settings.notices import PERSPECTIVE_ENDS
from stages.settings.scorers import PerspectiveService

LONGEST_PAUSE_S = 30.0


@dataclass
class Try:
    """A text on its way: when it was first sent, and the failures that may be its own."""

    text: str
    began: float
    failures: int = 0


class Patience:
    """Memory of how the service answers. All times are of one process."""

    def __init__(self, settings: PerspectiveService) -> None:
        self.settings = settings
        self.troubles: Counter[str] = Counter()
        self.judged_at = -math.inf
        """When a text was last judged, by the monotonic clock."""
        self._silent_since: float | None = None

    def heard(self, reply: Judged | Refused | Rejected) -> None:
        """Note that the service has answered."""
        self._silent_since = None
        if isinstance(reply, Judged):
            self.judged_at = time.monotonic()

    def failed(self, trying: Try, trouble: Trouble) -> None:
        """Note a failure; Unavailable where it is time to end the job."""
        self.troubles[trouble.reason] += 1
        trying.failures += trouble.blame
        now, longest = time.monotonic(), self.settings.patience_s
        self._silent_since = self._silent_since or now
        if (trouble.retry_after or 0.0) > longest:
            raise Unavailable(
                f"the Perspective API asks to wait {trouble.retry_after:.0f} s (is its quota used "
                "up?): run again later, what is answered is kept"
            )
        if now - self._silent_since > longest:
            raise Unavailable(
                f"the Perspective API has not answered for {longest:g} s ({trouble.reason}): "
                f"run again later, what is answered is kept; {PERSPECTIVE_ENDS}"
            )

    def used_up(self, trying: Try) -> bool:
        """Whether a text has failed as often as it may."""
        return trying.failures >= self.settings.attempts

    def wait(self, state: RetryCallState) -> float:
        """Seconds until the next try: random, doubling, and no less than the service asks for."""
        longest = min(LONGEST_PAUSE_S, self.settings.patience_s)
        backoff = wait_random_exponential(self.settings.backoff_s, max=longest)(state)
        return max(backoff, trouble_of(state).retry_after or 0.0)


def trouble_of(state: RetryCallState) -> Trouble:
    """The failure that tenacity asks about."""
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, Trouble)
    return error
