"""Can a model of at most 1.5 M parameters speak the embedded world?

Trains a byte-level BPE and a small Llama on the world's training documents for a number of
processor minutes on one thread, then prints held-out loss against the grammar's entropy, the
share of samples that parse, the share that occur nowhere in the training text, and the truth
about them.

    OMP_NUM_THREADS=1 python -m benchmarks.world_base_model --minutes 10
    OMP_NUM_THREADS=1 python -m benchmarks.world_base_model --model data/world/base_model
"""

from __future__ import annotations

import argparse
import json
import math
import time

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from stages.world import World
from stages.world.measures import entropy_per_document, novelty, parse_rate

VOCABULARY, BLOCK = 4096, 128


def train_tokenizer(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=["<|endoftext|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    return tokenizer


def build_model(hidden: int, layers: int) -> LlamaForCausalLM:
    torch.manual_seed(1)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=hidden,
            intermediate_size=hidden * 5 // 2,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=256,
            tie_word_embeddings=True,
            initializer_range=0.05,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def train(model: LlamaForCausalLM, blocks: torch.Tensor, arguments: argparse.Namespace) -> int:
    """Train on a cosine of processor time; the tokens seen."""
    seconds, batch, peak = arguments.minutes * 60, arguments.batch, arguments.peak
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
    started, step, order = time.process_time(), 0, np.random.default_rng(1)
    model.train()
    while (spent := (time.process_time() - started) / seconds) < 1.0:
        warm = min(1.0, (step + 1) / 100)
        for group in optimizer.param_groups:
            group["lr"] = peak * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * spent)))
        rows = torch.from_numpy(order.integers(0, len(blocks), batch))
        inputs = blocks[rows]
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=arguments.bf16):
            loss = model(input_ids=inputs, labels=inputs).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 100 == 0:
            print(f"step {step}  {spent:6.1%}  loss {loss.item():.3f}", flush=True)
        step += 1
    return step * batch * BLOCK


@torch.no_grad()
def loss_per_document(model: LlamaForCausalLM, rows: list[list[int]]) -> float:
    """Mean -log p of a document with its end, after a begin token; in nats."""
    total = 0.0
    for ids in rows:
        tensor = torch.tensor([[0, *ids, 0]])
        logits = model(input_ids=tensor).logits[0, :-1].float()
        total += torch.nn.functional.cross_entropy(logits, tensor[0, 1:], reduction="sum").item()
    return total / len(rows)


@torch.no_grad()
def sample(model: LlamaForCausalLM, query: list[int], new: int, top_k: int) -> list[int]:
    ids = [0, *query]
    out = model(input_ids=torch.tensor([ids]), use_cache=True)
    chosen: list[int] = []
    while len(chosen) < new:
        logits = out.logits[0, -1].float()
        if top_k:
            logits[logits < logits.topk(top_k).values[-1]] = -math.inf
        token = int(torch.multinomial(logits.softmax(-1), 1))
        if token == 0:
            break
        chosen.append(token)
        out = model(
            input_ids=torch.tensor([[token]]), past_key_values=out.past_key_values, use_cache=True
        )
    return chosen


def measure(
    model: LlamaForCausalLM, tokenizer: Tokenizer, corpus: list[str], arguments: argparse.Namespace
) -> dict[str, object]:
    """Every number that the design asks of the base model."""
    world, held = World.load(), World.load().documents(99, 1000)
    prompts = world.split_prompts("test", arguments.samples)

    def answer(text: str, new: int) -> str:
        ids = tokenizer.encode(text, add_special_tokens=False).ids if text else []
        return tokenizer.decode(sample(model, ids, new, arguments.top_k))

    pairs = [(row.text, answer(row.text, arguments.new_tokens)) for row in prompts]
    whole = [answer("", 60) for _ in range(arguments.samples // 2)]
    for prompt, continuation in pairs[:20]:
        print(f"[{prompt}]{continuation}", "" if world.parses(prompt, continuation) else "  (!)")
    truths = np.array([world.toxicity(*pair) for pair in pairs])
    entropy = entropy_per_document(held)
    loss = loss_per_document(
        model, [tokenizer.encode(d.text, add_special_tokens=False).ids for d in held]
    )
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "entropy_per_document": entropy,
        "loss_per_document": loss,
        "loss_over_entropy": loss / entropy,
        "parse_rate_continuations": parse_rate(pairs),
        "parse_rate_documents": parse_rate([("", text) for text in whole]),
        "novel_continuations": novelty([c for _, c in pairs], corpus),
        "novel_documents": novelty(whole, corpus),
        "toxicity_mean": float(truths.mean()),
        "toxicity_deciles": np.quantile(truths, np.arange(0.1, 1, 0.1)).round(3).tolist(),
        "toxicity_of_real_continuations": float(np.mean([r.toxicity for r in prompts])),
    }


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--documents", type=int, default=200_000)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--peak", type=float, default=4e-3)
    parser.add_argument("--bf16", action="store_true", help="autocast while training")
    parser.add_argument("--save", help="a folder for the model and its tokenizer")
    parser.add_argument("--model", help="measure the model of this folder and train nothing")
    parser.add_argument("--top-k", type=int, default=0, help="0 samples from the whole vocabulary")
    parser.add_argument("--samples", type=int, default=400)
    parser.add_argument("--new-tokens", type=int, default=22)
    return parser.parse_args()


def learn(corpus: list[str], arguments: argparse.Namespace) -> tuple[LlamaForCausalLM, Tokenizer]:
    """A model and its tokenizer, trained on the corpus."""
    tokenizer = train_tokenizer(corpus[:40_000])
    stream = [t for encoded in tokenizer.encode_batch(corpus) for t in (0, *encoded.ids)]
    whole = len(stream) // BLOCK * BLOCK
    blocks = torch.tensor(stream[:whole]).reshape(-1, BLOCK)
    model = build_model(arguments.hidden, arguments.layers)
    seen = train(model, blocks, arguments)
    print(f"{seen} tokens seen, {len(stream)} of them distinct")
    if arguments.save:
        model.save_pretrained(arguments.save)
        tokenizer.save(f"{arguments.save}/tokenizer.json")
    return model, tokenizer


def main() -> None:
    arguments = read_arguments()
    corpus = [d.text for d in World.load().training_documents(arguments.documents)]
    if arguments.model:
        model = LlamaForCausalLM.from_pretrained(arguments.model)
        tokenizer = Tokenizer.from_file(f"{arguments.model}/tokenizer.json")
    else:
        model, tokenizer = learn(corpus, arguments)
    print(json.dumps(measure(model.eval(), tokenizer, corpus, arguments), indent=1))


if __name__ == "__main__":
    main()
