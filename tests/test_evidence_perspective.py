"""How the evidence tells an answer that a kill met from one that was paid for twice."""

from __future__ import annotations

from benchmarks.perspective import Entry, paid_twice

LOG = [
    Entry(0.0, "asked", "0", "a"),
    Entry(1.0, "answered", "0", "a"),
    Entry(2.0, "asked", "0", "b"),
    Entry(3.0, "answered", "0", "b"),
    Entry(4.0, "asked", "0", "c"),
    Entry(5.0, "asked", "0", "c"),
    Entry(6.0, "asked", "0", "b"),
    Entry(7.0, "answered", "0", "b"),
    Entry(8.0, "asked", "1", "a"),
    Entry(9.0, "answered", "1", "a"),
]


def test_an_answer_that_a_kill_met_is_asked_for_again_without_blame() -> None:
    found = paid_twice(LOG, kept=[], server_kills=[5.5])
    assert found["requests"] == 6 and found["answers"] == 4
    assert found["asked_again_since_a_kill_met_the_answer"] == 2
    assert found["asked_again_though_answered"] == 0
    # The same client asks again, and the server has not been killed since it first asked.
    for kills in ([], [1.5], [6.5]):
        assert paid_twice(LOG, kept=[], server_kills=kills)["asked_again_though_answered"] == 1


def test_what_was_on_the_disk_is_never_to_be_asked_for_again() -> None:
    def again(*kept: tuple[int, set[str]]) -> int:
        return paid_twice(LOG, list(kept), [])["asked_again_though_kept"]

    assert again((0, {"a"})) == 1
    assert again((0, {"b", "c"}), (1, {"a"})) == 0
