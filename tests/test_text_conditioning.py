"""From tag and prompt to query ids: the published collation, BOS once, nothing special in texts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import END, PAD, SEPARATOR, tiny_tokenizer
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import PreTrainedTokenizerFast

from stages.learning.batches import Layout, token_batch
from stages.learning.examples import Example
from stages.runtime.errors import UserError
from stages.text.conditioning import QueryEncoder, TagTokens, plain_ids, special_frame

# The words of the golden's prompts as GPT-2 cuts them; "Ġ" is a blank before the word.
PROMPT_PIECES = [
    "When Ġshe Ġrejected Ġhis Ġadvance , Ġhe Ġgrabbed",
    "The Ġmen Ġstarted",
    'An Ġhour Ġand Ġa Ġhalf Ġlater , ĠOl ber mann Ġresponded , Ġwriting , Ġ" The Ġhurricane',
]
RESPONSE_PIECES = ["Ġher Ġby Ġthe Ġarm Ġand Ġran .", "Ġfighting Ġagain", "Ġwas Ġover ."]


def golden(shared: Path, name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((shared / "goldens" / "toxicity" / name).read_text())
    return value


def attended(collated: dict[str, Any], ids: str, mask: str) -> list[tuple[int, ...]]:
    return [
        tuple(i for i, kept in zip(row, kept_row, strict=True) if kept)
        for row, kept_row in zip(collated[ids], collated[mask], strict=True)
    ]


def stand_in(values: dict[str, Any], new_tokens: list[str], first_id: int) -> Any:
    """A tokenizer that cuts the golden's texts into GPT-2's pieces with GPT-2's ids.

    It takes the longest known piece from the left, which is what GPT-2's merges do on them.
    """
    vocabulary = {"<|endoftext|>": values["pad_id"]}
    rows = attended(values["prompt_collator"], "input_ids", "attention_mask")
    rows += attended(values["sequence_collator"], "response_input_ids", "response_mask")
    for pieces, ids in zip(PROMPT_PIECES + RESPONSE_PIECES, rows, strict=True):
        vocabulary |= dict(zip(pieces.split(), ids, strict=True))
    for tag, ids in values.get("tag_token_ids", {}).items():
        vocabulary |= dict(zip(values["tag_tokens"][tag], ids, strict=True))
    vocabulary |= {token: first_id + i for i, token in enumerate(new_tokens)}
    core = Tokenizer(WordPiece(vocabulary, unk_token="<|endoftext|>", continuing_subword_prefix=""))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )
    tokenizer.add_tokens(new_tokens, special_tokens=True)
    return tokenizer


def test_language_tags_are_collated_as_published(shared: Path) -> None:
    values = golden(shared, "collators_nlf.json")
    separator = "<|separator|>"
    encoder = QueryEncoder(stand_in(values, [separator], values["sep_id"]))
    names = {tuple(tokens): name for name, tokens in values["tag_tokens"].items()}
    expected = attended(values["sequence_collator"], "query_input_ids", "query_mask")
    assert len(expected) == 3
    for prompt, pieces, ids in zip(values["prompts"], values["cat_tokens"], expected, strict=True):
        tag = TagTokens(words=names[tuple(pieces)], separator=separator)
        assert encoder.query_ids(prompt, tag) == ids

    best = TagTokens(words="Lowest Toxicity", separator=separator)
    for column, tag in (
        ("add_best_control_code", best),
        ("remove_any_control_code_from_it", None),
        ("remove_any_control_code_from_training_batch", None),
        ("remove_any_control_code_keep_sep", TagTokens(separator=separator)),
    ):
        found = [encoder.query_ids(prompt, tag) for prompt in values["prompts"]]
        assert found == attended(values[column], "input_ids", "attention_mask"), column
    for words, ids in values["tag_token_ids"].items():
        query = encoder.query_ids("The men started", TagTokens(words=words))
        assert query[: len(ids)] == tuple(ids)


def test_quantile_tokens_are_collated_as_published(shared: Path) -> None:
    values = golden(shared, "collators_quark.json")
    tokens = values["tree_tokens"]
    tokenizer = stand_in(values, tokens, values["tree_token_ids"][0])
    assert tokenizer.convert_tokens_to_ids(tokens) == values["tree_token_ids"]
    encoder = QueryEncoder(tokenizer)
    expected = attended(values["sequence_collator"], "query_input_ids", "query_mask")
    for prompt, token, ids in zip(values["prompts"], values["cat_tokens"], expected, strict=True):
        assert encoder.query_ids(prompt, TagTokens(tokens=(token,))) == ids
    best = TagTokens(tokens=(tokens[0],))
    assert [encoder.query_ids(prompt, best) for prompt in values["prompts"]] == attended(
        values["add_control_code"], "input_ids", "attention_mask"
    )


def read_as_text(tokenizer: Any, ids: tuple[int, ...]) -> str:
    return tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)


def test_a_training_sequence_is_the_published_one_without_its_pads(shared: Path) -> None:
    """The tokens of both sides, and that the first response token is predicted from the last
    token of the query that is no pad."""
    values = golden(shared, "collators_nlf.json")
    separator = "<|separator|>"
    tokenizer = stand_in(values, [separator], values["sep_id"])
    assert values["vocab_len_policy"] == values["pad_id"] + 1 + len([separator])
    encoder = QueryEncoder(tokenizer)
    columns = values["sequence_collator"]
    answers = attended(columns, "response_input_ids", "response_mask")
    names = {tuple(tokens): name for name, tokens in values["tag_tokens"].items()}
    for row, (prompt, response) in enumerate(
        zip(values["prompts"], values["responses"], strict=True)
    ):
        assert plain_ids(tokenizer, response) == answers[row]
        tag = TagTokens(words=names[tuple(values["cat_tokens"][row])], separator=separator)
        query, plain = encoder.query_ids(prompt, tag), encoder.query_ids(prompt)
        example = Example("e", query, answers[row], plain)
        layout = Layout(row_tokens=64, pass_tokens=64)
        policy = token_batch([[example]], "policy", layout)
        assert policy.input_ids[0].tolist() == [*query, *answers[row][:-1]]
        assert policy.targets.tolist() == list(answers[row])
        # The published row is padded on both sides of its tokens: count those that are read.
        mask, last = columns["query_mask"][row], values["last_non_masked_idx"][row]
        assert mask[last] == 1
        assert int(policy.predict_at[0]) == sum(mask[: last + 1]) - 1 == len(query) - 1
        reference = token_batch([[example]], "reference", layout)
        assert reference.input_ids[0].tolist() == [*plain, *answers[row][:-1]]
        assert reference.targets.tolist() == policy.targets.tolist()
        best = encoder.query_ids(prompt, TagTokens(words="Lowest Toxicity", separator=separator))
        assert read_as_text(tokenizer, best) == values["decoded_query"][row]
        assert read_as_text(tokenizer, plain) == values["decoded_after_removal"][row] == prompt


def test_quantile_tokens_are_read_as_no_text(shared: Path) -> None:
    """The original's tokens are not special and come back as words; ours leave the prompt."""
    values = golden(shared, "collators_quark.json")
    tokens = values["tree_tokens"]
    tokenizer = stand_in(values, tokens, values["tree_token_ids"][0])
    assert values["vocab_len_policy"] == values["pad_id"] + 1 + len(tokens)
    assert values["tree_token_ids"] == list(range(50_257, 50_257 + len(tokens)))
    encoder = QueryEncoder(tokenizer)
    answers = attended(values["sequence_collator"], "response_input_ids", "response_mask")
    assert [plain_ids(tokenizer, text) for text in values["responses"]] == answers
    for prompt, as_words, without in zip(
        values["prompts"],
        values["decoded_query_skip_special"],
        values["decoded_query_without_first_column"],
        strict=True,
    ):
        query = encoder.query_ids(prompt, TagTokens(tokens=(tokens[0],)))
        assert as_words == f"{tokens[0]} {prompt}"
        assert read_as_text(tokenizer, query) == read_as_text(tokenizer, query[1:])
        assert read_as_text(tokenizer, query) == without == prompt


# Where a text begins and ends


def framed(start: str, end: str) -> Any:
    """A byte-level tokenizer that puts tokens before and after every text."""
    tokenizer = tiny_tokenizer()
    ends = [
        (token, tokenizer.convert_tokens_to_ids(token)) for token in {*start.split(), *end.split()}
    ]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}".strip(), special_tokens=ends
    )
    return tokenizer


FRAMES = [
    ("", "", (), ()),
    ("<|end|>", "", (END,), ()),
    ("", "<|end|>", (), (END,)),
    ("<|end|>", "<|end|>", (END,), (END,)),
    ("<|pad|>", "<|end|>", (PAD,), (END,)),
    ("<|pad|> <|end|>", "", (PAD, END), ()),
]


@pytest.mark.parametrize(("start", "end", "before", "after"), FRAMES)
def test_the_frame_stands_around_the_query_once(
    start: str, end: str, before: tuple[int, ...], after: tuple[int, ...]
) -> None:
    tokenizer = framed(start, end)
    assert special_frame(tokenizer) == (before, after)
    encoder = QueryEncoder(tokenizer)
    tag = TagTokens(words="Lowest Toxicity", separator="<|separator|>")
    inner = (
        *plain_ids(tokenizer, "Lowest Toxicity"),
        SEPARATOR,
        *plain_ids(tokenizer, "the baker"),
    )
    assert encoder.query_ids("the baker", tag) == (*before, *inner, *after)
    assert encoder.query_ids("the baker") == (*before, *plain_ids(tokenizer, "the baker"), *after)


def test_bos_stands_once_whatever_the_prompt_says() -> None:
    encoder = QueryEncoder(framed("<|end|>", ""))
    for prompt in ("", "the", "<|end|>the", "<|end|><|end|>"):
        for tag in (
            None,
            TagTokens(words="Maximum Toxicity"),
            TagTokens(separator="<|separator|>"),
        ):
            ids = encoder.query_ids(prompt, tag)
            assert ids[0] == END
            assert END not in ids[1:]


# Nothing in a text is special


@given(st.text(max_size=20), st.text(max_size=8))
def test_a_prompt_has_the_same_ids_with_any_tag(prompt: str, words: str) -> None:
    encoder = ENCODER
    alone = encoder.prompt_ids(prompt)
    for tag in (None, TagTokens(words=words), TagTokens(words=words, separator="<|separator|>")):
        ids = encoder.query_ids(prompt, tag)
        assert ids[len(ids) - len(alone) :] == alone


@given(
    st.lists(
        st.sampled_from(["<|end|>", "<|pad|>", "<|separator|>", "the ", "é", " ", "\U0001f600"]),
        max_size=5,
    )
)
def test_special_tokens_in_a_prompt_are_plain_text(parts: list[str]) -> None:
    prompt = "".join(parts)
    ids = ENCODER.prompt_ids(prompt)
    assert not {END, PAD, SEPARATOR} & set(ids)
    assert TOKENIZER.decode(ids, clean_up_tokenization_spaces=False) == prompt


TOKENIZER = tiny_tokenizer()
ENCODER = QueryEncoder(TOKENIZER)


def test_reading_a_text_plainly_leaves_the_tokenizer_as_it_was() -> None:
    tokenizer = tiny_tokenizer()
    assert plain_ids(tokenizer, "<|end|>") != (END,)
    assert tokenizer("<|end|>", add_special_tokens=False)["input_ids"] == [END]


def test_a_tokenizer_saved_with_a_limit_does_not_cut_prompts() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.backend_tokenizer.enable_truncation(4)
    tokenizer.backend_tokenizer.enable_padding(length=4)
    encoder = QueryEncoder(tokenizer)
    text = "the baker and the miller"
    assert encoder.prompt_ids(text) == ENCODER.prompt_ids(text)
    assert len(encoder.prompt_ids(text)) > 4


def test_a_token_that_the_policy_has_not_learned_is_one_line() -> None:
    with pytest.raises(UserError, match="splits the tag token '<new>' into"):
        ENCODER.query_ids("the", TagTokens(tokens=("<new>",)))


def test_an_empty_tag_is_no_condition() -> None:
    assert ENCODER.query_ids("the baker", TagTokens()) == ENCODER.query_ids("the baker")
