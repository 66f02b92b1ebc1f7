"""Tiny random models of every family the recipes name, and a byte-level tokenizer for them.

Each builder makes a model of at most 200,000 parameters from a config alone, seeded, in eval
mode, in fp32. ``spread`` is the standard deviation of the weights: the default of the libraries
(0.02) gives nearly uniform predictions and nearly equal positions, so that a test of masks or
positions could not fail; 0.2 makes every position and every token matter.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import (
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    GPTJConfig,
    GPTJForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    LongformerConfig,
    LongformerModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5ForConditionalGeneration,
)

VOCAB = 320
END = 0
PAD = 1
SEPARATOR = 2
SPECIAL_TOKENS = ("<|end|>", "<|pad|>", "<|separator|>")
POSITIONS = 256


def tiny_gpt2(
    seed: int = 0, vocab_size: int = VOCAB, spread: float = 0.2, attention: str = "sdpa"
) -> PreTrainedModel:
    """GPT-2: learned absolute positions, tied head."""
    config = GPT2Config(
        vocab_size=vocab_size,
        n_positions=POSITIONS,
        n_embd=48,
        n_layer=2,
        n_head=4,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=PAD,
        initializer_range=spread,
    )
    return _build(GPT2LMHeadModel, config, seed, attention)


def tiny_llama(
    seed: int = 0,
    vocab_size: int = VOCAB,
    spread: float = 0.2,
    attention: str = "sdpa",
    head_dim: int | None = None,
) -> PreTrainedModel:
    """Llama: rotary positions, grouped keys (two heads for four queries), untied head.

    ``head_dim`` None: 12, as the sizes have it; 32 is the smallest that vLLM knows on a CPU.
    """
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=48,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=head_dim,
        max_position_embeddings=POSITIONS,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=PAD,
        initializer_range=spread,
    )
    return _build(LlamaForCausalLM, config, seed, attention)


def tiny_gptj(
    seed: int = 0, vocab_size: int = VOCAB, spread: float = 0.2, attention: str = "eager"
) -> PreTrainedModel:
    """GPT-J: interleaved partial rotary, parallel residual, head with bias; eager only."""
    config = GPTJConfig(
        vocab_size=vocab_size,
        n_positions=POSITIONS,
        n_embd=48,
        n_layer=2,
        n_head=4,
        rotary_dim=8,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=PAD,
        tie_word_embeddings=False,
        initializer_range=spread,
    )
    return _build(GPTJForCausalLM, config, seed, attention)


def tiny_neox(
    seed: int = 0, vocab_size: int = VOCAB, spread: float = 0.2, attention: str = "sdpa"
) -> PreTrainedModel:
    """GPT-NeoX: rotary on a quarter of each head, fused projections, parallel residual."""
    config = GPTNeoXConfig(
        vocab_size=vocab_size,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=POSITIONS,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=PAD,
        tie_word_embeddings=False,
        initializer_range=spread,
    )
    return _build(GPTNeoXForCausalLM, config, seed, attention)


def tiny_t5(
    seed: int = 0,
    vocab_size: int = VOCAB,
    spread: float = 1.0,
    attention: str = "sdpa",
    tied: bool = False,
) -> PreTrainedModel:
    """T5: encoder-decoder with relative position buckets and gated feed-forward.

    ``spread`` scales T5's own per-matrix deviations (its ``initializer_factor``); ``tied``: the
    output is the embedding, as of the first T5.
    """
    config = T5Config(
        vocab_size=vocab_size,
        d_model=48,
        d_kv=12,
        d_ff=64,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        relative_attention_num_buckets=8,
        relative_attention_max_distance=32,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.1,
        initializer_factor=spread,
        eos_token_id=END,
        pad_token_id=PAD,
        decoder_start_token_id=PAD,
        tie_word_embeddings=tied,
    )
    model = _build(T5ForConditionalGeneration, config, seed, attention)
    # T5's own scheme gives an untied head logits of deviation 7: nearly one-hot predictions.
    if not tied:
        model.lm_head.weight.data.mul_(0.2)
    return model


def tiny_bert(seed: int = 0, vocab_size: int = VOCAB, spread: float = 0.2) -> PreTrainedModel:
    """BERT: learned absolute positions, sees both sides."""
    sizes = _encoder_sizes(vocab_size, spread) | {"max_position_embeddings": POSITIONS}
    return _build(BertModel, BertConfig(**sizes), seed, "sdpa")


def tiny_roberta(seed: int = 0, vocab_size: int = VOCAB, spread: float = 0.2) -> PreTrainedModel:
    """RoBERTa: numbers its positions from behind the id of the pad token."""
    sizes = _encoder_sizes(vocab_size, spread) | {"max_position_embeddings": POSITIONS + PAD + 1}
    return _build(RobertaModel, RobertaConfig(**sizes), seed, "sdpa")


def tiny_longformer(seed: int = 0, vocab_size: int = VOCAB, spread: float = 0.2) -> PreTrainedModel:
    """Longformer: attends within a window of 8 tokens, and from chosen tokens to all."""
    sizes = _encoder_sizes(vocab_size, spread) | {"max_position_embeddings": POSITIONS + PAD + 1}
    config = LongformerConfig(**sizes, attention_window=8, sep_token_id=SEPARATOR)
    return _build(LongformerModel, config, seed, "eager")


def _encoder_sizes(vocab_size: int, spread: float) -> dict[str, Any]:
    return {
        "vocab_size": vocab_size,
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "bos_token_id": END,
        "eos_token_id": END,
        "pad_token_id": PAD,
        "initializer_range": spread,
    }


ENCODERS: dict[str, Callable[..., PreTrainedModel]] = {
    "bert": tiny_bert,
    "roberta": tiny_roberta,
    "longformer": tiny_longformer,
    "t5": tiny_t5,
}
"""Stacks that see both sides, by name; of T5 the encoder."""
DECODERS: dict[str, Callable[..., PreTrainedModel]] = {
    "gpt2": tiny_gpt2,
    "llama": tiny_llama,
    "gptj": tiny_gptj,
    "neox": tiny_neox,
}
"""The decoder-only families by name."""


def tiny_tokenizer(vocab_size: int = VOCAB) -> PreTrainedTokenizerFast:
    """A byte-level BPE that can spell any text; ids 0, 1, 2 are end, pad and separator."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    corpus = [
        "Lowest Toxicity, Low-Moderate Toxicity, Maximum Toxicity",
        "the baker and the miller talk to the people of the small town in the morning",
        "you are kind and they are not; this is what the others said to her and to him",
    ]
    tokenizer.train_from_iterator(corpus, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=SPECIAL_TOKENS[0],
        eos_token=SPECIAL_TOKENS[0],
        pad_token=SPECIAL_TOKENS[1],
        sep_token=SPECIAL_TOKENS[2],
    )


def save_tiny_policy(folder: Path, model: PreTrainedModel) -> Path:
    """Write model and tokenizer as a folder that ``from_pretrained`` loads; give the folder."""
    model.save_pretrained(folder)
    tiny_tokenizer(model.config.vocab_size).save_pretrained(folder)
    return folder


def _build(
    kind: type[PreTrainedModel], config: object, seed: int, attention: str
) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind._from_config(config, attn_implementation=attention, dtype=torch.float32)
    return model.eval()
