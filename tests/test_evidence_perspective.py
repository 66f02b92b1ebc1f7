"""How the evidence tells an answer that a kill met from one that was paid for twice."""

from __future__ import annotations

from benchmarks.perspective import paid_twice

LOG = [
    ("asked", "a"),  # 0
    ("answered", "a"),
    ("asked", "b"),  # 2
    ("answered", "b"),
    ("asked", "c"),  # 4
    ("asked", "b"),  # 5
    ("asked", "c"),
    ("answered", "c"),
    ("answered", "b"),
    ("asked", "a"),  # 9
]


def test_an_answer_that_a_kill_met_is_asked_for_again_without_blame() -> None:
    found = paid_twice(LOG, kept=[], kills=[5])
    assert found["requests"] == 6 and found["answers"] == 4
    assert found["asked_again_since_a_kill_met_the_answer"] == 2
    assert found["asked_again_though_answered"] == 0
    assert paid_twice(LOG, kept=[], kills=[6])["asked_again_though_answered"] == 1
    assert paid_twice(LOG, kept=[], kills=[])["asked_again_though_answered"] == 2


def test_what_was_on_the_disk_is_never_to_be_asked_for_again() -> None:
    assert paid_twice(LOG, kept=[(5, {"a"})], kills=[5])["asked_again_though_kept"] == 1
    assert paid_twice(LOG, kept=[(5, {"x"}), (6, {"b"})], kills=[5])["asked_again_though_kept"] == 0
