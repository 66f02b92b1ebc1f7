"""The data of the published reward models, made by following the spec's sentences one by one.

Slow, plain and independent of the package: what the package makes is compared with it. Sentences
are given, since only they depend on what is installed. Long-form QA spec §3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from typing import Any

FACTUAL = ("Wrong-Grounding", "Unverifiable")
Row = dict[str, Any]
Split = Callable[[str], list[str]]
"""From a text to the texts of its sentences."""


def pieces(words: Sequence[str]) -> list[list[str]]:
    """§3.1: the words of each sub-sentence of a sentence."""
    starts, begin = {0}, 0
    for i in range(1, len(words)):
        if words[i - 1][-1] in ",;!?" and i + 5 < len(words):
            if i - begin >= 5:
                starts.add(i)
                begin = i
            elif begin > 0:
                starts.discard(begin)
                starts.add(i)
                begin = i
    cuts = [*sorted(starts), len(words)]
    return [list(words[cuts[k] : cuts[k + 1]]) for k in range(len(cuts) - 1)]


def labelled(text: str, spans: Sequence[Row], split: Split, level: str, category: str) -> Any:
    """§3.2: (words with the marks before segments, labels), or None where a check fails."""
    segments = []
    for sentence in split(text.strip()):
        words = sentence.split()
        segments += pieces(words) if level == "subsentence" else [words]
    before = [len("".join(text[:k].split())) for k in range(len(text) + 1)]
    marks: dict[int, str] = {}
    for span in spans:
        start, end, kind = span["start"], span["end"], span["error type"]
        if len(text[start:end].split()) < 5 and kind not in FACTUAL:
            continue
        if text[start].isspace() or (start > 0 and not text[start - 1].isspace()):
            return None
        if end < len(text) and not text[end].isspace():
            return None
        for offset in range(start, end):
            marks[before[offset]] = "F-ERR" if kind in FACTUAL else "NF-ERR"
    tokens, labels, place = [], [], 0
    for words in segments:
        seen = set()
        for word in words:
            of_word = {marks.get(place + k, "") for k in range(len(word))}
            if len(of_word) > 1:
                return None
            seen |= of_word
            place += len(word)
        label = category if category in seen else "O"
        if category == "F-ERR" and label == "O" and "NF-ERR" in seen:
            label = "Ignore"
        tokens += ["</s>", *words]
        labels += [label, *["Ignore"] * len(words)]
    assert place == before[len(text)]
    return tokens, labels


def record(row: Row, number: int, split: Split, level: str, category: str) -> Row | None:
    """§3.3: the record of one example, or None where all of its labels are `Ignore`."""
    found = labelled(row["prediction 1"], row["feedback"]["errors"], split, level, category)
    assert found is not None
    tokens, labels = found
    if set(labels) == {"Ignore"}:
        return None
    words = ["question:", *row["question"].split()]
    if category == "F-ERR" and row["passages"]:
        words.append("context:")
        for title, *sentences in row["passages"]:
            words += f"wikipage: {title}".split()
            words += ["text:", *" ".join(sentences).split()]
    words.append("answer:")
    tags = ["Ignore"] * len(words) + labels
    return {"id": str(number), "text": words + tokens, "feedback_tags": tags}


def similarity(piece: str, sentence: str) -> float:
    """§3.4, 3: the best window's `quick_ratio`; 1 where the piece stands there."""
    size = len(piece.split())
    width = size + int(0.05 * size)
    # A sentence of no more words than the window gets one word more than the window has.
    sentence += " #" * max(0, width + 1 - len(sentence.split()))
    if piece in sentence:
        return 1.0
    words = sentence.split()
    windows = [" ".join(words[k : k + width]) for k in range(len(words) - width + 1)]
    return max(SequenceMatcher(None, window, piece).quick_ratio() for window in windows)


def mapped(text: str, sentences: dict[tuple[int, int], str], split: Split) -> list[Any]:
    """§3.4, 3: (piece, id) of each piece of a text that draws on a sentence."""
    found = []
    for sentence in split(" ".join(text.split())):
        for words in pieces(sentence.split()):
            piece = " ".join(words)
            best, best_id = -1.0, None
            for name, candidate in sentences.items():
                value = similarity(piece, candidate)
                if value > best:
                    best, best_id = value, name
            if best >= 0.85:
                found.append((piece, best_id))
    return found


def coverage(row: Row, split: Split) -> list[float] | None:
    """§3.4: the coverage of each prediction, or None where nothing is relevant."""
    sentences = {
        (i, j): " ".join(sentence.split())
        for i, (_, *rest) in enumerate(row["passages"], 1)
        for j, sentence in enumerate(rest, 1)
    }
    minor = {
        (item["passage_id"], sentence)
        for item in row["feedback"]["missing-info"]
        if item["error type"] == "Missing-Minor-Auxiliary"
        for sentence in item["sentence_id"]
    }
    everything, taken_away = set(), set()
    for piece, name in mapped(row["feedback"]["corrected-prediction"], sentences, split):
        everything.add(name)
        if name in minor:
            taken_away.add(name)
            if piece.lower() in row["prediction 1"].lower():
                taken_away.discard(name)
    relevant = everything - taken_away
    if not relevant:
        return None
    return [
        len({name for _, name in mapped(row[f"prediction {k}"], sentences, split)} & relevant)
        / len(relevant)
        for k in (1, 2, 3, 4)
    ]
