"""How fast the world is: loading, drawing comments, and the truth about continuations.

python -m benchmarks.world_truth_speed
"""

from __future__ import annotations

import json
import time

from stages.world import World


def main() -> None:
    started = time.process_time()
    world = World.load()
    loaded = time.process_time()
    documents = world.documents(0, 20_000)
    drawn = time.process_time()
    pairs = [(d.text[:20], d.text[20:]) for d in documents]
    garbage = [("The zebra", "q " + d.text.swapcase()) for d in documents[:5000]]
    numbers = {"load_seconds": loaded - started, "documents_per_second": 20_000 / (drawn - loaded)}
    for name, rows in (("parsed", pairs), ("outside_the_grammar", garbage)):
        begun = time.process_time()
        for prompt, continuation in rows:
            world.toxicity(prompt, continuation)
        numbers[f"truths_per_second_{name}"] = len(rows) / (time.process_time() - begun)
    print(json.dumps({name: round(value, 3) for name, value in numbers.items()}, indent=1))


if __name__ == "__main__":
    main()
