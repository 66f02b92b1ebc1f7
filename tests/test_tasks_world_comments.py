"""Comments of the embedded world as a task."""

from __future__ import annotations

from itertools import groupby

import numpy as np

from stages.tasks.world_comments import THREAD, WorldComments
from stages.world import World

COUNT = 1203


def test_texts_are_the_training_documents_in_threads_of_like_tone() -> None:
    rows = list(WorldComments(None).texts(COUNT))
    world = World.load()
    assert sorted(row.text for row in rows) == sorted(
        document.text for document in world.training_documents(COUNT)
    )
    threads = [
        [world.toxicity("", row.text) for row in thread]
        for _, thread in groupby(rows, key=lambda row: row.thread)
    ]
    assert [len(thread) for thread in threads] == [THREAD] * (COUNT // THREAD) + [COUNT % THREAD]
    inside = np.mean([np.std(thread) for thread in threads])
    assert inside < 0.05 * np.std([tone for thread in threads for tone in thread])


def test_threads_follow_in_no_order_of_tone_beyond_those_gathered() -> None:
    rows = list(WorldComments(None).texts(2000))
    tones = [World.load().toxicity("", row.text) for row in rows]
    assert abs(np.corrcoef(tones, np.arange(len(tones)))[0, 1]) < 0.2
