"""Answers for many texts at once: kept ones first, the others asked for until they are there."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from stages.rewards.perspective.kept import Kept, KeptAnswers, key_of
from stages.rewards.perspective.pace import Pace, pause
from stages.rewards.perspective.patience import Patience, Try, trouble_of
from stages.rewards.perspective.replies import Judged, Refused, Rejected, Trouble, meaning
from stages.rewards.perspective.wire import open_client, request_body, send
from stages.runtime.errors import UserError
from stages.runtime.events import event
from stages.runtime.secret import Secret
from stages.runtime.signals import leave_if_asked, stop_requested
from stages.settings.scorers import PerspectiveScorer

PLAIN_SENTENCE = "The library opens at nine in the morning and closes at five in the afternoon."
"""Asked where it must be known whether the service, or one text, is the cause of a failure."""
SECONDS_BETWEEN_LINES = 10.0
Result = TypeVar("Result")


class Stopped(Exception):  # noqa: N818 - the worker that gets it ends, nothing more
    """No further request is to be sent."""


class Asker:
    """Asks the service for one attribute of each text. One use: an instance serves one call.

    A text that the service will not judge, or that is given up (see ``patience``), has no value
    but a reason. Whatever ends the work, requests on their way are waited for and their answers
    kept.
    """

    def __init__(self, settings: PerspectiveScorer, secret: Secret, kept: KeptAnswers) -> None:
        self.settings, self.secret = settings, secret
        self.asked = self.found = 0
        self.patience = Patience(settings.service)
        self._service = settings.service
        self._wanted = list(dict.fromkeys([settings.score, *settings.service.also_ask]))
        self._kept = kept
        self._new: SimpleQueue[tuple[bytes, Kept]] = SimpleQueue()
        self._pace = Pace(self._service.queries_per_second, self._reserve, self._stops)
        self._failed = False
        self._told = time.monotonic()

    async def answers(self, texts: Sequence[str]) -> dict[str, Kept]:
        """An answer for each text; Preempted when asked to stop before all are there."""
        left, found = deque(dict.fromkeys(texts)), dict[str, Kept]()
        total, service = len(left), self._service
        self._client = open_client(
            self.settings.url, self.secret, service.concurrency, service.timeout_s
        )
        with ThreadPoolExecutor(1, "kept-answers") as self._disk:
            async with self._client:
                count = min(service.concurrency, total)
                workers = [self._work(left, found, total) for _ in range(count)]
                ends = await asyncio.gather(*workers, return_exceptions=True)
        for end in ends:
            if end is not None:
                raise end
        if len(found) < total:
            leave_if_asked()
        return found

    def told(self) -> dict[str, object]:
        """What asking came to, for a log: asked for, found among the kept, failures by reason."""
        return {"asked": self.asked, "kept": self.found, "troubles": dict(self.patience.troubles)}

    async def _work(self, left: deque[str], found: dict[str, Kept], total: int) -> None:
        while left and not self._stops():
            text = left.popleft()
            try:
                found[text] = await self._answer(text)
            except Stopped:
                return
            except BaseException:
                self._failed = True
                raise
            if time.monotonic() - self._told > SECONDS_BETWEEN_LINES:
                self._told = time.monotonic()
                event("asking_perspective", done=len(found), of=total, **self.told())

    async def _answer(self, text: str) -> Kept:
        keys = [self._key(self.settings.score, text), self._request_key(text)]
        known = await self._on_disk(lambda: self._kept.find(keys))
        if known is not None:
            self.found += 1
            return known
        trying = Try(text, time.monotonic())

        async def gives_up(state: RetryCallState) -> bool:
            return await self._gives_up(trying, trouble_of(state))

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(Trouble),
            wait=self.patience.wait,
            stop=cast(Any, gives_up),  # awaited, though its type does not say so
            sleep=lambda seconds: pause(seconds, self._stops),
            reraise=True,
        )
        try:
            answer: Kept = await retrying(self._attempt, text)
        except Trouble as trouble:
            return Kept(None, f"given up after {trying.failures} failures, the last: {trouble}")
        self.asked += 1
        return answer

    async def _attempt(self, text: str) -> Kept:
        reply = await self._ask(text)
        if isinstance(reply, Rejected):
            # Text or settings? The settings are right if a text was ever judged under them.
            if self.patience.judged_at == -math.inf:
                await self._ask_plainly()
            reply = Refused(reply.reason)
        if isinstance(reply, Refused):
            refusal = Kept(None, reply.reason)
            await self._keep([(self._request_key(text), refusal)])
            return refusal
        answers = {name: Kept(value) for name, value in reply.values.items()}
        await self._keep([(self._key(name, text), answer) for name, answer in answers.items()])
        return answers[self.settings.score]

    async def _ask(self, text: str) -> Judged | Refused | Rejected:
        await self._pace.turn()
        if self._stops():
            raise Stopped
        body = request_body(text, self._wanted, self.settings.languages)
        reply = await send(self._client, body, self._service.timeout_s)
        found = meaning(reply, self._wanted, self.settings.url, self.secret)
        self.patience.heard(found)
        return found

    async def _ask_plainly(self) -> None:
        """Trouble when the service does not answer; UserError when no such request is taken."""
        found = await self._ask(PLAIN_SENTENCE)
        if not isinstance(found, Judged):
            message = found.message if isinstance(found, Rejected) else found.reason
            raise UserError(
                f"the Perspective API takes no such request ({message})",
                self.settings.url,
                "check score, languages and service.also_ask of the scorer",
            )

    async def _gives_up(self, trying: Try, trouble: Trouble) -> bool:
        self.patience.failed(trying, trouble)
        if trouble.retry_after:
            await self._hold(trouble.retry_after)
        if not self.patience.used_up(trying):
            return False
        if self.patience.judged_at < trying.began:
            try:
                await self._ask_plainly()
            except Trouble:
                trying.failures = 0  # it is not this text alone
                return False
        return True

    def _stops(self) -> bool:
        return self._failed or stop_requested()

    async def _reserve(self, count: int) -> float:
        url, spacing = self.settings.url, 1 / self._service.queries_per_second
        horizon = self._service.patience_s + spacing
        return await self._on_disk(lambda: self._kept.reserve(url, count, spacing, horizon))

    async def _hold(self, wait: float) -> None:
        url, horizon = self.settings.url, self._service.patience_s
        self._pace.forget()
        await self._on_disk(lambda: self._kept.hold(url, wait, horizon))

    async def _keep(self, answers: Sequence[tuple[bytes, Kept]]) -> None:
        """Return when the answers are on the disk; those that come together go together."""
        for answer in answers:
            self._new.put(answer)
        await self._on_disk(self._write_new)

    def _write_new(self) -> None:
        answers = [self._new.get_nowait() for _ in range(self._new.qsize())]
        if answers:
            self._kept.keep(answers)

    async def _on_disk(self, work: Callable[[], Result]) -> Result:
        """Use the file of kept answers in the one thread that may."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    def _key(self, attribute: str, text: str) -> bytes:
        return key_of(self.settings.url, self.settings.languages, attribute, text)

    def _request_key(self, text: str) -> bytes:
        """Name of a refusal: one attribute of a request can be the cause for all of it."""
        return self._key("+".join(sorted(self._wanted)), text)
