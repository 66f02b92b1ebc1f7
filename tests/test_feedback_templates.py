"""Text templates for tags: one text for training and sampling, whatever the tokenizer."""

from __future__ import annotations

import pytest
from small_tokenizers import FAMILIES, byte_fallback, sentencepiece_like
from tiny_models import tiny_tokenizer

from stages.feedback.from_settings import Framing, phase_vocabulary, tag_tokens
from stages.runtime.errors import UserError
from stages.settings.phases import TagSettings
from stages.settings.strict import parse
from stages.text.conditioning import QueryEncoder, marks_words, plain_ids, special_frame

PUBLISHED = "feedback: {tag} input: {prompt}"
ATTRIBUTES = ("relevance", "factuality", "completeness")
PROMPT = "question: Who was the first? context: wikipage: The mill text: It was built in 1871."
LANGUAGE = phase_vocabulary("language", "lfqa", 3, ATTRIBUTES)
TOKENS = phase_vocabulary("token", "quark_attributes", 3, ATTRIBUTES)


def test_the_published_prompt() -> None:
    """Spec §6.4 and §8.2.6: no period behind the tags, in training as in sampling."""
    tag = tag_tokens(LANGUAGE.tag((0, 1, 2)), Framing(template=PUBLISHED))
    assert tag is not None
    assert tag.words + PROMPT == (
        "feedback: relevant, and some inaccuracies, and incomplete input: " + PROMPT
    )
    assert tag_tokens(LANGUAGE.tag((-1, -1, -1)), Framing(template=PUBLISHED)) is None
    some = tag_tokens(LANGUAGE.tag((0, -1, 1)), Framing(template=PUBLISHED))
    assert some is not None
    assert some.words == "feedback: relevant, and some details missing input: "


def test_the_ids_of_a_t5_vocabulary_are_those_of_the_whole_text() -> None:
    tokenizer = sentencepiece_like()
    encoder = QueryEncoder(tokenizer)
    for vector in ((0, 0, 0), (2, 1, 0), (-1, 0, -1)):
        tag = tag_tokens(LANGUAGE.tag(vector), Framing(template=PUBLISHED))
        assert tag is not None
        whole = tokenizer(tag.words + PROMPT)["input_ids"]
        assert list(encoder.query_ids(PROMPT, tag)) == whole


@pytest.mark.parametrize("family", ["byte_level", "sentencepiece_like", "byte_fallback"])
def test_the_ids_spell_the_whole_text_and_the_prompts_own_stay(family: str) -> None:
    tokenizer = FAMILIES[family]()
    encoder = QueryEncoder(tokenizer)
    tag = tag_tokens(LANGUAGE.tag((0, 1, 2)), Framing(template=PUBLISHED))
    assert tag is not None
    ids = encoder.query_ids("the town", tag)
    alone = plain_ids(tokenizer, "the town")
    inner = ids[: len(ids) - len(special_frame(tokenizer)[1])]
    assert inner[len(inner) - len(alone) :] == alone
    text = tokenizer.decode(ids, skip_special_tokens=True)
    if family != "sentencepiece_like":  # it has no tokens for some letters of the tags
        assert text == tag.words + "the town"


def test_which_vocabularies_mark_words() -> None:
    assert marks_words(sentencepiece_like())
    assert marks_words(byte_fallback())
    assert not marks_words(tiny_tokenizer())


def test_tokens_stand_before_the_prompt_one_per_attribute() -> None:
    tag = tag_tokens(TOKENS.tag((0, 2, 1)), Framing())
    assert tag is not None
    assert tag.tokens == ("_TREE_TOKEN_0_0", "_TREE_TOKEN_1_2", "_TREE_TOKEN_2_1")


BASE = {"kind": "language", "quantiles": 3, "vocabulary": "lfqa"}


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"template": "feedback: {prompt}"}, "{tag} once"),
        ({"template": "{tag} {prompt} now"}, "ends with {prompt}"),
        ({"template": "{tag} {tag} {prompt}"}, "{tag} once"),
        ({"template": "{tag} {prompt} {prompt}"}, "{tag} once"),
        ({"template": PUBLISHED, "separator": "<|cut|>"}, "no separator"),
        ({"template": PUBLISHED, "kind": "token"}, "tags in words"),
    ],
)
def test_a_template_that_says_too_little_or_too_much(
    settings: dict[str, str], problem: str
) -> None:
    with pytest.raises(UserError) as caught:
        parse(TagSettings, BASE | settings, "tag")
    assert problem in str(caught.value)


def test_the_published_template_is_taken() -> None:
    assert parse(TagSettings, BASE | {"template": PUBLISHED}, "tag").template == PUBLISHED
