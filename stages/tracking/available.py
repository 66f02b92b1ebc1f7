"""Whether what the recipe asks for can be had: found out before any job starts."""

from __future__ import annotations

import importlib.util
import os

from stages.runtime.errors import UserError
from stages.settings.trackers import LogSettings

KEY = "WANDB_API_KEY"


def check_trackers(settings: LogSettings) -> None:
    """Raise a ``UserError`` for a package that is not installed or a key that is not set."""
    wanted = {"tensorboard": settings.tensorboard, "wandb": settings.wandb is not None}
    for package, on in wanted.items():
        if on and importlib.util.find_spec(package) is None:
            raise UserError(
                f"the package {package} is not installed",
                f"log.{package}",
                f"pip install 'rondo[{package}]', or leave log.{package} out",
            )
    if settings.wandb is not None and settings.wandb.mode == "online" and not os.environ.get(KEY):
        raise UserError(
            f"the environment holds no {KEY}",
            "log.wandb.mode: online",
            "set it, or use mode=offline and `wandb sync` later",
        )
