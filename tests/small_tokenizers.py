"""A small tokenizer of each family that a policy may have, trained or written here."""

from __future__ import annotations

from tiny_models import tiny_tokenizer
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerFast

TEXTS = [
    "The baker and the miller talk to the people of the small town in the morning.",
    "It was built in 1871, after the fire; it was rebuilt in 1902, and it stands today!",
    "Who was the first? The question is an old one, and nobody in the town knows the answer.",
]


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """Unigram with a mark for the blank before a word, as T5's: no blank is kept at a text's end,
    runs of blanks become one, what it does not know is one unknown token.
    """
    core = Tokenizer(models.Unigram())
    core.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(r"\s+", " "), normalizers.Strip()]
    )
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]
    )
    core.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>", "<extra_id_0>"]
    core.train_from_iterator(
        TEXTS,
        trainers.UnigramTrainer(
            vocab_size=120, special_tokens=special, unk_token="<unk>", show_progress=False
        ),
    )
    core.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<extra_id_0>"],
    )


def byte_fallback() -> PreTrainedTokenizerFast:
    """BPE with marks for blanks and a token for each byte, as Llama's first vocabularies."""
    special = ["<unk>", "<s>", "</s>"]
    letters = sorted({*"".join(TEXTS), "▁"} - {" "})
    names = [*special, *(f"<0x{byte:02X}>" for byte in range(256)), *letters, "▁t", "▁th", "▁the"]
    merges = [("▁", "t"), ("▁t", "h"), ("▁th", "e")]
    vocabulary = {name: place for place, name in enumerate(names)}
    core = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    core.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    core.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def word_level() -> PreTrainedTokenizerFast:
    """Whole words and marks of punctuation, joined by blanks when decoded."""
    words = sorted({word for text in TEXTS for word in text.split()})
    names = ["<pad>", "<end>", "<unk>", *words]
    core = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, "<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<end>", unk_token="<unk>"
    )


def word_pieces() -> PreTrainedTokenizerFast:
    """Pieces of words as BERT's, whose decoder joins them and draws punctuation to the word."""
    names = [
        "[PAD]",
        "[UNK]",
        "[END]",
        "the",
        "bak",
        "##er",
        "town",
        "##s",
        ",",
        ".",
        "don",
        "'",
        "t",
    ]
    core = Tokenizer(models.WordPiece({n: i for i, n in enumerate(names)}, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="[PAD]", eos_token="[END]", unk_token="[UNK]"
    )


FAMILIES = {
    "byte_level": tiny_tokenizer,
    "sentencepiece_like": sentencepiece_like,
    "byte_fallback": byte_fallback,
    "word_level": word_level,
    "word_pieces": word_pieces,
}
"""A builder for each family."""
