"""Which sequences share a row and a forward pass, from their lengths alone.

Pure functions on numbers of tokens; ties are broken by index, so the result is a function of the
lengths.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best-fit-decreasing: bins of indexes whose lengths sum to at most ``capacity`` tokens.

    A sequence longer than the capacity has a bin to itself. Every index appears once.
    """
    bins: list[list[int]] = []
    room: list[tuple[int, int]] = []  # (free tokens, bin), sorted: the tightest fit is found first
    for index in _longest_first(lengths):
        length = lengths[index]
        place = bisect_left(room, (length, -1))
        if place == len(room):
            bins.append([index])
            insort(room, (capacity - length, len(bins) - 1))
        else:
            free, chosen = room.pop(place)
            bins[chosen].append(index)
            insort(room, (free - length, chosen))
    return bins


def group_rows(row_lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Rows that share a forward pass: similar lengths together, rows * longest <= ``budget``.

    A row longer than the budget goes alone. Longest first, so that memory is found short at once
    and not an hour later.
    """
    groups: list[list[int]] = []
    for index in _longest_first(row_lengths):
        longest = row_lengths[groups[-1][0]] if groups else 0
        if groups and (len(groups[-1]) + 1) * longest <= budget:
            groups[-1].append(index)
        else:
            groups.append([index])
    return groups


def share(lengths: Sequence[int], ranks: int) -> list[list[int]]:
    """Split indexes over processes so that their tokens are about equal and none is idle.

    The longest goes to the rank with the fewest tokens, the lower rank on a tie. With fewer
    sequences than ranks some rank would have nothing to do: ValueError.
    """
    if len(lengths) < ranks:
        raise ValueError(f"{len(lengths)} sequences cannot occupy {ranks} processes")
    shares: list[list[int]] = [[] for _ in range(ranks)]
    load = [0] * ranks
    for index in _longest_first(lengths):
        rank = min(range(ranks), key=lambda r: (load[r], r))
        shares[rank].append(index)
        load[rank] += max(lengths[index], 1)
    return [sorted(chosen) for chosen in shares]


def _longest_first(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
