"""Rows of a data set by its name, through ``datasets``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stages.runtime.errors import UserError


def hub_rows(name: str, split: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (place, row) of one split; what cannot be loaded is one UserError."""
    from datasets import load_dataset
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    try:
        rows = load_dataset(name, split=split)
    except (ConnectionError, FileNotFoundError, HfHubHTTPError) as error:
        raise UserError(
            f"data set cannot be loaded ({error})",
            name,
            "give a file or folder, or set RONDO_ONLINE=1 to let it be fetched",
        ) from error
    except (DatasetsError, ValueError) as error:  # damaged files, no such split, no such name
        raise UserError(
            f"data set cannot be loaded ({error})", name, "does it have these prompts and splits?"
        ) from error
    for index, row in enumerate(rows):
        yield f"{name}:{index + 1}", dict(row)
