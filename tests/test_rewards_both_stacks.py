"""Reward models whose encoder reads the question and whose decoder reads the answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import save_tiny_policy, tiny_gpt2, tiny_t5

from stages.models.backbones import load_backbone, states_of_both
from stages.models.heads import HeadShape, headed, load_headed_model
from stages.models.load import load_policy
from stages.rewards.qa_network import QaNetwork, name_outputs, network, read_network, write_network
from stages.rewards.qa_reading import Reading, segmented_text, whole_text
from stages.runtime.errors import UserError
from stages.text.qa_prompts import ANSWER, Passage, QaPrompt, judge_prompt
from stages.text.segments import segments_of
from stages.text.sentences import load_sentences

ASKED = QaPrompt("Who built the mill?", (Passage("Mill", "Ann built it."), Passage("Ann", "Old.")))
TEXTS = ["Ann built the mill. It burnt down! The town talks of it.", "Nobody knows.", "Ann did it."]
CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_tiny_policy(tmp_path / "t5", tiny_t5())


def net(folder: Path, pool: str = "places", budget: int = 4096) -> QaNetwork:
    backbone, tokenizer = load_backbone(folder, torch.float32, both=True)
    model = headed(backbone, HeadShape(pool, ("F-ERR", "O"), both=True), seed=1)
    name_outputs(model)
    return network(model, tokenizer, None, budget, "fp32")


def readings(found: QaNetwork, texts: list[str] = TEXTS) -> list[Reading]:
    split = load_sentences("sentencizer")
    return found.read(
        [
            segmented_text(ASKED, "piped", segments_of(text, split(text), "sentence"))
            for text in texts
        ]
    )


def test_the_encoder_reads_the_prompt_and_the_decoder_the_answer(folder: Path) -> None:
    found = net(folder)
    tokenizer = found.tokenizer
    for text, reading in zip(TEXTS, readings(found), strict=True):
        prompt, answer = reading.token_ids[: reading.split], reading.token_ids[reading.split :]
        asked = judge_prompt(ASKED, "piped").removesuffix(ANSWER).rstrip()
        assert tokenizer.decode(prompt, skip_special_tokens=True) == asked
        assert tokenizer.decode(answer, skip_special_tokens=True).strip() == text
        # A mark behind each segment, among the answer's tokens.
        assert all(reading.token_ids[at] == tokenizer.sep_token_id for at in reading.marks)
        assert reading.split < reading.marks[0] and reading.marks[-1] == len(reading.token_ids) - 1


def test_a_state_is_that_of_the_model_itself(folder: Path) -> None:
    """Against transformers' own forward pass of one row, without padding."""
    found = net(folder)
    whole, _ = load_policy(folder, torch.float32, "cpu")
    rows = readings(found)
    width = max(len(row.token_ids) for row in rows)
    ids = torch.tensor([[*row.token_ids, *[7] * (width - len(row.token_ids))] for row in rows])
    lengths = torch.tensor([len(row.token_ids) for row in rows])
    splits = torch.tensor([row.split for row in rows])
    with torch.no_grad():
        states = states_of_both(found.model.backbone, ids, lengths, splits)
        for row, found_states in zip(rows, states, strict=True):
            prompt, answer = row.token_ids[: row.split], row.token_ids[row.split :]
            start = whole.config.decoder_start_token_id
            told: Any = whole.model if hasattr(whole, "model") else whole
            plain = told(
                input_ids=torch.tensor([prompt]),
                decoder_input_ids=torch.tensor([[start, *answer]]),
                output_hidden_states=True,
            )
            size = len(row.token_ids)
            decoded = plain.decoder_hidden_states[-1][0, 1:]
            torch.testing.assert_close(found_states[row.split : size], decoded, atol=1e-5, rtol=0)
            encoded = plain.encoder_last_hidden_state[0]
            torch.testing.assert_close(found_states[: row.split], encoded, atol=1e-5, rtol=0)
            assert not found_states[size:].any()


@pytest.mark.parametrize("pool", ["places", "last"])
def test_batches_and_padding_change_no_output(pool: str, folder: Path) -> None:
    together, alone = net(folder, pool), net(folder, pool, budget=1)
    for one, other in zip(
        together.outputs(readings(together)), alone.outputs(readings(alone)), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_a_later_segment_changes_no_earlier_one(folder: Path) -> None:
    found = net(folder)
    short, long = found.outputs(readings(found, [TEXTS[0][:19], TEXTS[0]]))
    np.testing.assert_allclose(short[0], long[0], atol=1e-5)


def test_an_empty_answer_is_read(folder: Path) -> None:
    found = net(folder, "last")
    rows = found.read([whole_text(ASKED, "piped", text) for text in ("", TEXTS[0])])
    assert len(rows[0].token_ids) - rows[0].split <= 1  # the blank behind the last word
    assert np.isfinite(np.concatenate(found.outputs(rows))).all()


def test_what_is_too_long_loses_passages_and_keeps_the_answer(folder: Path) -> None:
    found = net(folder)
    (full,) = readings(found, TEXTS[:1])
    limit = len(full.token_ids) - 5
    cut = network(found.model, found.tokenizer, limit, 4096, "fp32")
    (reading,) = readings(cut, TEXTS[:1])
    assert len(reading.token_ids) == limit and reading.prompt_cut == 5
    assert reading.token_ids[reading.split :] == full.token_ids[full.split :]
    assert len(reading.marks) == 3


def test_it_is_written_and_read_again(folder: Path, tmp_path: Path) -> None:
    found = net(folder)
    write_network(found, {"kind": "span"}, tmp_path / "made")
    again, _ = read_network(tmp_path / "made", "span", 4096, "fp32", CPU)
    for one, other in zip(
        found.outputs(readings(found)), again.outputs(readings(again)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    model, _ = load_headed_model(tmp_path / "made", torch.float32, "cpu")
    assert model.shape.both


def test_a_model_of_one_stack_is_refused(tmp_path: Path) -> None:
    place = save_tiny_policy(tmp_path, tiny_gpt2())
    with pytest.raises(UserError, match="has one stack"):
        load_backbone(place, torch.float32, both=True)


def test_a_decoder_has_no_mark_before_what_it_has_not_read(folder: Path) -> None:
    found = net(folder)
    with pytest.raises(UserError, match="marks: before"):
        network(found.model, found.tokenizer, None, 4096, "fp32", "before")
