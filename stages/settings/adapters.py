"""Settings of training, held against those of the adapters that are trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.settings.recipe import Recipe


def check_adapters(recipe: Recipe) -> None:
    """Refuse (ValueError) what would do nothing beside an adapter, or in it.

    Dropout has one switch, ``update.dropout``: without it a policy is trained as it sampled, and
    the ratios of PPO start at 1. A recipe may turn it on in some of its phases only.
    """
    lora = recipe.policy.lora
    updates = {f"phases.{name}.update": phase.update for name, phase in recipe.phases.items()}
    for key, update in updates.items():
        if lora is not None and update.unfrozen_layers < 1.0:
            raise ValueError(
                f"{key}.unfrozen_layers does nothing under policy.lora, which trains no block "
                "itself; leave one of them out"
            )
        value = update.value.lora if update.kind == "ppo" else None
        if value is not None and value.dropout > 0.0 and not update.dropout:
            raise ValueError(
                f"{key}.value.lora.dropout does nothing while {key}.dropout is false; "
                "set that to true, or leave this out"
            )
    if lora is not None and lora.dropout > 0.0 and not any(u.dropout for u in updates.values()):
        raise ValueError(
            f"policy.lora.dropout does nothing while {next(iter(updates))}.dropout is false; "
            "set that to true, or leave this out"
        )
