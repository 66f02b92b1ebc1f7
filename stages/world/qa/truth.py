"""The truth about any answer to a question of the world: is it relevant, factual, complete?

An answer is read clause by clause. A clause is *relevant* when it speaks of something that the
question asks after and has not been said before. It is *factual* when a passage says it, or when
it says nothing at all; what cannot be read cannot be verified. The answer *covers* what it says
rightly of what is asked. Judgements of longer pieces are made of those of their clauses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stages.world.qa.phrases import PRONOUN, Claim, Phrases, title


@dataclass(frozen=True)
class Said:
    """A clause on the characters ``start`` to ``end`` (exclusive), judged.

    ``covers`` is the relation that it answers rightly, or None.
    """

    start: int
    end: int
    relevant: bool
    factual: bool
    covers: str | None


class Truth:
    """What one question asks and what its passages say.

    ``passages`` are pairs of title and text. A question that is not of this world has no relevant
    answer (``asked`` is empty).
    """

    def __init__(self, question: str, passages: Iterable[tuple[str, str]]) -> None:
        self.phrases = Phrases.load()
        self.subject, self.asked = self.phrases.asked(question) or ("", ())
        self.known = {
            (page, clause.claim.relation, clause.claim.object)
            for page, text in passages
            for clause in self.phrases.clauses(text)
            if clause.claim is not None
        }
        self.known = {(title(page), relation, found) for page, relation, found in self.known}

    def read(self, answer: str) -> list[Said]:
        """Every clause of an answer, in order."""
        before: set[Claim] = set()
        found = []
        for clause in self.phrases.clauses(answer):
            claim = clause.claim
            if claim is None or claim.relation is None:
                # A filler is true and beside the point; what cannot be read is neither.
                found.append(Said(clause.start, clause.end, False, claim is not None, None))
                continue
            subject = self.subject if claim.subject == PRONOUN else claim.subject
            told = Claim(subject, claim.relation, claim.object)
            relevant = self._asks_after(told) and told not in before
            factual = (
                subject,
                told.relation,
                told.object,
            ) in self.known and told.object is not None
            before.add(told)
            covers = told.relation if factual and self._asks_after(told) else None
            found.append(Said(clause.start, clause.end, relevant, factual, covers))
        return found

    def _asks_after(self, claim: Claim) -> bool:
        return claim.subject == self.subject and claim.relation in self.asked

    def completeness(self, said: Sequence[Said]) -> float:
        """The share of what is asked that an answer says rightly, from 0 to 1."""
        if not self.asked:
            return 0.0
        return len({clause.covers for clause in said if clause.covers}) / len(self.asked)


def relevant(said: Sequence[Said], start: int, end: int) -> bool:
    """Whether a piece of an answer has no clause that is beside the point, and one at least."""
    inside = _inside(said, start, end)
    return bool(inside) and all(clause.relevant for clause in inside)


def factual(said: Sequence[Said], start: int, end: int) -> bool:
    """Whether a piece of an answer has no clause that is wrong, and one at least."""
    inside = _inside(said, start, end)
    return bool(inside) and all(clause.factual for clause in inside)


def _inside(said: Sequence[Said], start: int, end: int) -> list[Said]:
    return [clause for clause in said if max(clause.start, start) < min(clause.end, end)]
