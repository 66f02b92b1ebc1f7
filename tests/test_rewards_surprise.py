"""Heads that read how surprising an answer is to the model itself, and values that add up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import save_tiny_policy, tiny_t5

from stages.models.backbones import load_backbone, read_by_both
from stages.models.heads import HeadShape, headed
from stages.models.load import load_policy
from stages.models.surprise import most_surprising, surprises
from stages.rewards.preference import (
    Moments,
    PreferenceDescription,
    PreferenceJudge,
    PreferenceModel,
    moments,
    read_preference,
    write_preference,
)
from stages.rewards.protocol import Scorable
from stages.rewards.qa_network import QaNetwork, name_outputs, network, read_network, write_network
from stages.rewards.qa_reading import Reading, segmented_text
from stages.runtime.errors import UserError
from stages.text.qa_prompts import Passage, QaPrompt
from stages.text.segments import segments_of
from stages.text.sentences import load_sentences

ASKED = QaPrompt("Who built the mill?", (Passage("Mill", "Ann built it."), Passage("Ann", "Old.")))
SENTENCES = load_sentences("sentencizer")
TEXTS = ["Ann built the mill. It burnt down! The town talks of it.", "Nobody knows.", "Ann did it."]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_policy(tmp_path / "t5", tiny_t5(tied=True))


def net(
    folder: Path, pool: Any, budget: int = 4096, outputs: tuple[str, ...] = ("a", "b")
) -> QaNetwork:
    backbone, tokenizer = load_backbone(folder, torch.float32, both=True)
    shape = HeadShape(pool, outputs, both=True, surprise=True)
    model = headed(backbone, shape, seed=1)
    name_outputs(model)
    return network(model, tokenizer, None, budget, "fp32")


def readings(found: QaNetwork) -> list[Reading]:
    return found.read(
        [segmented_text(ASKED, "piped", segments_of(t, SENTENCES(t), "sentence")) for t in TEXTS]
    )


def batch(rows: list[Reading]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    width = max(len(row.token_ids) for row in rows)
    ids = torch.tensor([[*row.token_ids, *[7] * (width - len(row.token_ids))] for row in rows])
    lengths = torch.tensor([len(row.token_ids) for row in rows])
    return ids, lengths, torch.tensor([row.split for row in rows])


@torch.no_grad()
def test_a_surprise_is_the_language_models_own(folder: Path) -> None:
    """Against transformers' own logits of one row, without padding."""
    found = net(folder, "places")
    whole, _ = load_policy(folder, torch.float32, "cpu")
    rows = readings(found)
    ids, lengths, splits = batch(rows)
    backbone = found.model.backbone
    all_of_them = surprises(backbone, ids, read_by_both(backbone, ids, lengths, splits))
    for row, own in zip(rows, all_of_them, strict=True):
        answer = row.token_ids[row.split :]
        start = whole.config.decoder_start_token_id
        logits = whole(
            input_ids=torch.tensor([row.token_ids[: row.split]]),
            decoder_input_ids=torch.tensor([[start, *answer[:-1]]]),
        ).logits[0]
        true = -logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
        size = len(row.token_ids)
        torch.testing.assert_close(own[row.split : size], true, atol=1e-4, rtol=0)
        assert not own[: row.split].any() and not own[size:].any()


def test_the_most_surprising_token_of_a_piece_is_not_its_first() -> None:
    found = torch.tensor([9.0, 1.0, 3.0, 8.0, 2.0, 7.0, 5.0])
    starts, ends = torch.tensor([0, 3, 5, 6, 7]), torch.tensor([3, 5, 6, 7, 7])
    assert most_surprising(found, starts, ends).tolist() == [3.0, 2.0, 0.0, 0.0, 0.0]
    assert most_surprising(found, starts[:0], ends[:0]).tolist() == []


@torch.no_grad()
@pytest.mark.parametrize("pool", ["places", "last"])
def test_the_head_hears_the_largest_surprise_of_what_it_judges(pool: str, folder: Path) -> None:
    """Its weight of surprise moves each output by that of a segment, or of the whole answer."""
    found, deaf = net(folder, pool), net(folder, pool)
    deaf.model.head.weight[:, -1] = 0
    rows = readings(found)
    ids, lengths, splits = batch(rows)
    backbone = found.model.backbone
    own = surprises(backbone, ids, read_by_both(backbone, ids, lengths, splits))
    heard, unheard = found.outputs(rows), deaf.outputs(rows)
    for row, surprise, one, other in zip(rows, own, heard, unheard, strict=True):
        ends = row.marks if pool == "places" else (len(row.token_ids),)
        starts = [row.split, *(at + 1 for at in ends[:-1])]
        most = torch.stack([surprise[a + 1 : b].max() for a, b in zip(starts, ends, strict=True)])
        moved = most[:, None] * found.model.head.weight[:, -1]
        np.testing.assert_allclose(one - other, moved.numpy(), atol=1e-4)


@torch.no_grad()
def test_the_values_of_segments_add_up(folder: Path) -> None:
    single, whole = net(folder, "places"), net(folder, "segments")
    whole.model.load_head_state(single.model.head_state())
    rows = readings(single)
    for each, value in zip(single.outputs(rows), whole.outputs(rows), strict=True):
        np.testing.assert_allclose(value[0], each.sum(axis=0), atol=1e-4)


@pytest.mark.parametrize("pool", ["places", "last", "segments"])
def test_batches_and_padding_change_no_output(pool: str, folder: Path) -> None:
    together, alone = net(folder, pool), net(folder, pool, budget=1)
    for one, other in zip(
        together.outputs(readings(together)), alone.outputs(readings(alone)), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_it_is_written_and_read_again(folder: Path, tmp_path: Path) -> None:
    found = net(folder, "segments")
    write_network(found, {"kind": "span"}, tmp_path / "made")
    again, _ = read_network(tmp_path / "made", "span", 4096, "fp32", torch.device("cpu"))
    assert again.model.shape == found.model.shape
    for one, other in zip(
        found.outputs(readings(found)), again.outputs(readings(again)), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_an_answer_of_which_no_segment_is_read_has_no_value(folder: Path) -> None:
    """The sum of nothing is no judgement, and no part of the mean that values are held against."""
    whole = net(folder, "segments")
    (short, long) = [
        segmented_text(ASKED, "piped", segments_of(t, SENTENCES(t), "sub_sentence"))
        for t in ("Ann.", "word " * 40 + "end.")
    ]
    (reading,) = whole.read([long])
    limit = len(reading.token_ids) - reading.split - 1
    cut = network(whole.model, whole.tokenizer, limit, 4096, "fp32")
    model = PreferenceModel(cut, PreferenceDescription("it", "piped", SENTENCES.name), SENTENCES)
    values = model.values([(ASKED, short.text[short.answer_at :]), (ASKED, "word " * 40 + "end.")])
    assert np.isfinite(values[0]) and np.isnan(values[1])
    rows = [Scorable("s", "", "word " * 40 + "end.", ASKED)]
    assert [score.value for score in PreferenceJudge(model).score(rows)] == [None]
    found = moments(np.array([1.0, 3.0, np.nan]), "x")
    assert (found.answers, found.mean, found.deviation) == (2, 2.0, 1.0)
    with pytest.raises(UserError, match="no training answer could be read"):
        moments(np.array([np.nan]), "x")


def test_answers_split_by_another_splitter_are_refused(folder: Path, tmp_path: Path) -> None:
    found = net(folder, "segments", outputs=("it",))
    for name, place in ((SENTENCES.name, "same"), ("sentencizer, spacy 0.1", "other")):
        description = PreferenceDescription("it", "piped", name)
        model = PreferenceModel(found, description, SENTENCES)
        write_preference(model, Moments(2, 0.0, 1.0), tmp_path / place)
    again, _ = read_preference(tmp_path / "same", 4096, "fp32", torch.device("cpu"))
    rows = [(ASKED, text) for text in TEXTS]
    truth = PreferenceModel(found, again.description, SENTENCES).values(rows)
    np.testing.assert_allclose(again.values(rows), truth, atol=1e-6)
    assert truth.std() > 0
    with pytest.raises(UserError, match=r"learnt sentences of sentencizer, spacy 0\.1, here is"):
        read_preference(tmp_path / "other", 4096, "fp32", torch.device("cpu"))


def test_an_encoder_is_always_given_something(folder: Path) -> None:
    """Of a tokenizer that puts nothing around a text, where the answer alone is too long."""
    found = net(folder, "places")
    for limit in (1, 5, 20):
        cut = network(found.model, found.tokenizer, limit, 4096, "fp32")
        for reading, values in zip(readings(cut), cut.outputs(readings(cut)), strict=True):
            assert reading.split >= 1
            assert np.isfinite(values).all()


def test_a_model_whose_output_is_not_its_embedding_is_refused(tmp_path: Path) -> None:
    place = save_tiny_policy(tmp_path, tiny_t5())
    with pytest.raises(UserError, match="surprise is for a T5"):
        net(place, "last")
