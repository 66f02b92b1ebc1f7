"""Which weights are not trained: the first blocks, and what no output depends on."""

from __future__ import annotations

from torch import Tensor, nn

from stages.models.forward import bare
from stages.runtime.errors import UserError

BLOCKS = ("h", "layers", "block")


def blocks(model: nn.Module) -> list[nn.Module]:
    """The transformer blocks in order; those of the decoder where the model has an encoder."""
    inner = bare(model)
    home = inner.get_decoder() if inner.config.is_encoder_decoder else inner.base_model
    for name in BLOCKS:
        found = getattr(home, name, None)
        if isinstance(found, nn.ModuleList):
            return list(found)
    raise UserError(f"{type(inner).__name__} has no list of blocks", None, "train all its layers")


def freeze_blocks(model: nn.Module, unfrozen_layers_ratio: float) -> int:
    """Freeze all blocks but the last int(ratio * blocks); give the number that stays trainable.

    Embeddings, final norm and head stay trainable, and a ratio under which no whole block would
    stay freezes nothing, as published (ALT, toxicity spec §2.7). The encoder of an
    encoder-decoder counts its own blocks by the same rule.
    """
    if not 0.0 < unfrozen_layers_ratio <= 1.0:
        raise UserError(
            f"unfrozen_layers_ratio is {unfrozen_layers_ratio}", None, "take 0 < ratio <= 1"
        )
    inner = bare(model)
    stacks = [blocks(model)]
    if inner.config.is_encoder_decoder:
        encoder = inner.get_encoder()
        stacks += [
            list(getattr(encoder, name))
            for name in BLOCKS
            if isinstance(getattr(encoder, name, None), nn.ModuleList)
        ]
    for stack in stacks:
        kept = int(unfrozen_layers_ratio * len(stack))
        for block in stack[: len(stack) - kept] if kept else []:
            block.requires_grad_(False)
    return int(unfrozen_layers_ratio * len(stacks[0])) or len(stacks[0])


def freeze_unread(model: nn.Module, output: Tensor) -> None:
    """Freeze what ``output``, made by the model with gradient, does not depend on.

    Processes that learn together wait for the gradient of all that is trained, and would wait for
    these for ever. Experts stay trainable: which of them read a text, each text decides.
    """
    read: set[int] = set()

    def note(parameter: Tensor) -> None:
        read.add(id(parameter))
        parameter.grad = None  # at once: all gradients together are as large as the model

    hooks = [
        parameter.register_post_accumulate_grad_hook(note)
        for parameter in model.parameters()
        if parameter.requires_grad
    ]
    output.sum().backward()
    for hook in hooks:
        hook.remove()
    for name, parameter in model.named_parameters():
        if id(parameter) not in read and "experts" not in name.split("."):
            parameter.requires_grad_(False)
