"""Labels of a published classifier: which value is meant, and what makes it of the logits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from stages.runtime.errors import UserError

Activation = Literal["softmax", "sigmoid", "none"]


def label_index(id2label: Mapping[Any, str], label: str | int) -> int:
    """The index of a label given by name or index; UserError names those there are."""
    names = {int(index): str(name) for index, name in id2label.items()}
    if isinstance(label, int) and label in names:
        return label
    found = [index for index, name in names.items() if name == label]
    if len(found) == 1:
        return found[0]
    known = ", ".join(f"{index}: {names[index]}" for index in sorted(names)[:20])
    raise UserError(f"classifier has no label {label!r}", None, f"its labels are {known}")


def check_activation(activation: Activation, labels: int, problem: str | None = None) -> None:
    """Refuse an activation that gives no probability of a label.

    ``problem`` is the ``problem_type`` of the model's config, where it has one: what the model
    was trained for, single_label_classification or multi_label_classification.
    """
    if activation == "softmax" and labels == 1:
        raise UserError(
            "a softmax over one label is always 1",
            None,
            "set activation: sigmoid (a probability) or none (a reward)",
        )
    if activation == "softmax" and problem == "multi_label_classification":
        raise UserError(
            "a softmax over labels that do not exclude each other is no probability",
            None,
            "set activation: sigmoid",
        )
    if activation == "sigmoid" and problem == "single_label_classification" and labels > 1:
        raise UserError(
            "a sigmoid of one of several labels of which one applies is no probability",
            None,
            "set activation: softmax",
        )
