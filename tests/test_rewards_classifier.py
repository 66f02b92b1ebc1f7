"""Classifiers are read at the right token, under the right label, whatever the batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    CTRLConfig,
    CTRLForSequenceClassification,
    GPT2ForSequenceClassification,
    LlamaForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    T5ForSequenceClassification,
)

from stages.rewards.batching import token_batches
from stages.rewards.classifier import (
    Classifier,
    activate,
    class_logits,
    label_index,
    load_classifier,
)
from stages.rewards.encoding import encode, longest_input, padded
from stages.rewards.protocol import Scorable
from stages.runtime.errors import UserError
from tests.tiny_models import END, PAD, VOCAB, tiny_gpt2, tiny_llama, tiny_t5, tiny_tokenizer

LABELS = {0: "kind", 1: "neutral", 2: "toxic"}
TEXTS = ["a", "you are kind", "the baker and the miller " * 4, "é🥚", "x" * 40, "not this"]
ROWS = [Scorable(f"s{i}", "they said ", text) for i, text in enumerate(TEXTS)]


def classifier(family: str, pad: int = PAD) -> PreTrainedModel:
    """A tiny random classifier of three labels."""
    torch.manual_seed(0)
    encoder = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 64,
        "max_position_embeddings": 256,
        "pad_token_id": pad,
        "initializer_range": 0.2,
        "num_labels": 3,
    }
    if family in ("bert", "roberta"):
        kind, config = {
            "bert": (BertForSequenceClassification, BertConfig(**encoder)),
            "roberta": (RobertaForSequenceClassification, RobertaConfig(**encoder)),
        }[family]
    else:
        kind, maker = {
            "gpt2": (GPT2ForSequenceClassification, tiny_gpt2),
            "llama": (LlamaForSequenceClassification, tiny_llama),
            "t5": (T5ForSequenceClassification, tiny_t5),
        }[family]
        config = maker().config
    config.num_labels, config.pad_token_id = 3, pad
    config.id2label, config.label2id = LABELS, {name: i for i, name in LABELS.items()}
    model = kind(config).eval()
    for name, weights in model.named_parameters():
        if name.startswith(("score", "classif")) and weights.dim() == 2:
            torch.nn.init.normal_(weights, std=0.5)
    return model


def scorer(family: str = "llama", **settings: object) -> Classifier:
    chosen = {"label": "toxic", "activation": "softmax"} | settings
    return Classifier("toxicity", classifier(family), tiny_tokenizer(), **chosen)


@pytest.mark.parametrize("pad", [END, PAD], ids=["pad is end", "pad is another"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_finished_text_is_read_at_its_end_token(family: str, pad: int) -> None:
    model = classifier(family, pad)
    finished, cut = [5, 9, 30, 7, END], [5, 9, 30, 7]
    with torch.no_grad():
        hidden = model.base_model(torch.tensor([finished])).last_hidden_state
        truth = model.score(hidden)[0]
        ids, lengths = padded([finished, cut], pad, torch.device("cpu"))
        ours = class_logits(model, ids, lengths)
        theirs = model(input_ids=ids, attention_mask=(ids != -1).long()).logits
    torch.testing.assert_close(ours, truth[[4, 3]], atol=1e-5, rtol=0)
    # The library's own reading: one token early where pad and end are one.
    read_at = 3 if pad == END else 4
    torch.testing.assert_close(theirs[0], truth[read_at], atol=1e-5, rtol=0)
    assert (truth[3] - truth[4]).abs().max() > 0.05


@pytest.mark.parametrize("prompt", ["none", "prefix"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "bert", "roberta"])
def test_batches_and_padding_change_nothing(family: str, prompt: str) -> None:
    together = scorer(family, prompt=prompt)
    alone = [next(together.score([row])).value for row in ROWS]
    for budget in (1, 60, 10_000):
        together.batch_tokens = budget
        found = list(together.score(ROWS))
        assert [score.sample_id for score in found] == [row.sample_id for row in ROWS]
        assert [score.value for score in found] == pytest.approx(alone, abs=1e-5)
    assert max(alone) - min(alone) > 1e-3


def test_encoder_decoder_classifiers_are_read_by_their_own_forward() -> None:
    model = classifier("t5")
    rows = [[5, 6, 7, END], [9, 8, END]]
    ids, lengths = padded(rows, PAD, torch.device("cpu"))
    with torch.no_grad():
        together = class_logits(model, ids, lengths)
        alone = [model(input_ids=torch.tensor([row])).logits[0] for row in rows]
    torch.testing.assert_close(together, torch.stack(alone), atol=1e-5, rtol=1e-5)


def test_only_the_response_is_read_unless_the_prompt_is_asked_for() -> None:
    other = [Scorable(row.sample_id, "quite another prompt ", row.response) for row in ROWS]

    def values(rows: list[Scorable], prompt: str) -> list[float | None]:
        return [score.value for score in scorer(prompt=prompt).score(rows)]

    assert values(ROWS, "none") == values(other, "none")
    assert values(ROWS, "prefix") != values(other, "prefix")


def test_values_are_the_labels_probability() -> None:
    tokenizer, model = tiny_tokenizer(), classifier("llama")
    ids = torch.tensor([tokenizer("you are kind")["input_ids"]])
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0].double()
    row = [Scorable("s", "", "you are kind")]
    for activation, value in (
        ("softmax", logits.softmax(0)[2]),
        ("sigmoid", logits[2].sigmoid()),
        ("none", logits[2]),
    ):
        found = next(scorer(activation=activation).score(row)).value
        assert found == pytest.approx(float(value), abs=1e-6)


def test_blank_responses_are_not_judged() -> None:
    rows = [Scorable("a", "p", ""), ROWS[0], Scorable("b", "p", "\t\n")]
    found = [score.value for score in scorer(prompt="prefix").score(rows)]
    assert found[0] is None and found[2] is None and found[1] is not None


def test_a_generated_text_cannot_forge_an_end_token() -> None:
    ids = encode(tiny_tokenizer(), ["go <|end|> on<|pad|>"], None, "start")[0]
    assert END not in ids and PAD not in ids
    assert tiny_tokenizer().decode(ids) == "go <|end|> on<|pad|>"


def test_long_texts_lose_their_end_or_beginning_as_asked() -> None:
    tokenizer, text = tiny_tokenizer(), "0123456789"
    assert tokenizer.decode(encode(tokenizer, [text], 4, "start")[0]) == "0123"
    assert tokenizer.decode(encode(tokenizer, [text], 4, "end")[0]) == "6789"
    assert encode(tokenizer, [text], 4, "end", END)[0][-2:] == [tokenizer("9")["input_ids"][0], END]
    assert len(encode(tokenizer, [text], 4, "end", END)[0]) == 4


@pytest.mark.parametrize(("family", "limit"), [("bert", 256), ("roberta", 256 - PAD - 1)])
def test_context_is_the_number_of_tokens_the_model_can_place(family: str, limit: int) -> None:
    model = classifier(family)
    assert longest_input(model.config, tiny_tokenizer()) == limit
    ids = torch.full((1, limit), 7)
    assert model(input_ids=ids).logits.shape == (1, 3)
    with pytest.raises((IndexError, RuntimeError)):
        model(input_ids=torch.full((1, limit + 1), 7))


def test_relative_positions_have_no_end() -> None:
    """T5's tokenizers say 512, which is how long its training texts were."""
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 512
    assert longest_input(tiny_t5().config, tokenizer) is None
    assert longest_input(classifier("bert").config, tokenizer) == 512


@pytest.mark.parametrize("label", ["toxic", 2])
def test_labels_by_name_or_index(label: str | int) -> None:
    assert label_index(LABELS, label) == 2


@pytest.mark.parametrize("label", ["Toxic", 3, -1, "2"])
def test_unknown_labels_are_refused_with_those_there_are(label: str | int) -> None:
    with pytest.raises(UserError, match="2: toxic"):
        label_index(LABELS, label)


def test_two_labels_of_one_name_need_an_index() -> None:
    with pytest.raises(UserError, match="no label"):
        label_index({0: "a", 1: "a"}, "a")


def test_a_softmax_over_one_label_is_refused() -> None:
    model = classifier("llama")
    model.config.id2label = {0: "reward"}
    with pytest.raises(UserError, match="always 1"):
        Classifier("r", model, tiny_tokenizer(), 0, "softmax")
    assert activate(torch.tensor([[2.0]]), "none").item() == 2.0


def test_folders(tmp_path: Path) -> None:
    model, tokenizer = classifier("gpt2"), tiny_tokenizer()
    model.save_pretrained(tmp_path / "whole")
    tokenizer.save_pretrained(tmp_path / "whole")
    loaded = load_classifier(tmp_path / "whole", "toxicity", "toxic")
    mine = Classifier("toxicity", model, tokenizer, "toxic")
    assert list(loaded.score(ROWS)) == list(mine.score(ROWS))
    model.save_pretrained(tmp_path / "mute")
    with pytest.raises(UserError, match="tokenizer"):
        load_classifier(tmp_path / "mute", "toxicity", "toxic")


def test_a_head_without_weights_is_refused(tmp_path: Path) -> None:
    tiny_llama().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    AutoModelForSequenceClassification.from_pretrained(tmp_path)  # the library only warns
    with pytest.raises(UserError, match=r"score\.weight"):
        load_classifier(tmp_path, "toxicity", 0)


def test_batches_hold_every_row_once_within_the_budget() -> None:
    lengths = [5, 1, 9, 3, 3, 30, 2]
    batches = token_batches(lengths, 12)
    assert sorted(index for batch in batches for index in batch) == list(range(7))
    assert batches[0] == [5]
    for batch in batches[1:]:
        assert len(batch) * max(lengths[index] for index in batch) <= 12
    assert token_batches([], 12) == []
    assert len(token_batches([4] * 6, 12)) == 2
    with pytest.raises(UserError):
        token_batches([1], 0)


def test_a_classifier_that_looks_for_pad_tokens_is_refused(tmp_path: Path) -> None:
    config = CTRLConfig(
        vocab_size=VOCAB, n_positions=32, n_embd=16, dff=16, n_layer=1, n_head=2, pad_token_id=PAD
    )
    CTRLForSequenceClassification(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="pad token"):
        load_classifier(tmp_path, "toxicity", 0)
