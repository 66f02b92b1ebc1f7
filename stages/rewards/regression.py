"""The scorer that ``train_reward_model`` trains: a folder, whatever its features are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from stages.rewards.protocol import Scorable, Score
from stages.rewards.texts import PromptUse, is_blank, text_of
from stages.runtime.atomic import read_json, whole_folder, write_json
from stages.runtime.errors import UserError

DESCRIPTION = "scorer.json"

Features = Literal["ngrams", "transformer"]


class TextRegressor(Protocol):
    """A trained model that reads texts."""

    def predict(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """Values [texts], each independent of the other texts."""
        ...


@dataclass(frozen=True)
class Description:
    """What a trained scorer reads and what it calls its value."""

    attribute: str
    features: Features
    prompt: PromptUse


class Regression:
    """Scores responses by a trained model. Blank responses score None."""

    judge_only = False

    def __init__(self, description: Description, model: TextRegressor) -> None:
        self.attributes: tuple[str, ...] = (description.attribute,)
        self.description = description
        self.model = model

    def score(self, rows: Sequence[Scorable]) -> Iterator[Score]:
        """Score each row in its order."""
        judged = [row for row in rows if not is_blank(row)]
        texts = [text_of(row, self.description.prompt) for row in judged]
        values = iter(self.model.predict(texts).tolist() if texts else [])
        for row in rows:
            value = None if is_blank(row) else next(values)
            yield Score(row.sample_id, self.attributes[0], value)


def save_regression(
    description: Description, write_model: Callable[[Path], None], folder: str | Path
) -> None:
    """Write a scorer folder whole or not at all; ``write_model`` writes the model into it."""
    with whole_folder(Path(folder)) as scratch:
        write_model(scratch)
        write_json(scratch / DESCRIPTION, asdict(description))


def read_description(folder: str | Path) -> Description:
    """What the scorer in a folder is; UserError where there is none."""
    path = Path(folder) / DESCRIPTION
    found = read_json(path, "scorer description")
    try:
        description = Description(**found)
    except TypeError:
        raise UserError("scorer description is damaged", path, "train the scorer again") from None
    known = (get_args(Features), get_args(PromptUse))
    if description.features not in known[0] or description.prompt not in known[1]:
        raise UserError("scorer is of an unknown kind", path, "train the scorer again")
    return description
