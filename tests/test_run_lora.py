"""One adapter through the phases of a run: each phase's tags are learnt, of every sort."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from mini_run import MiniRun

from stages.models.load import load_policy
from stages.settings import layout
from stages.updating import learner as learners

TOKENS = {"kind": "token", "vocabulary": "alt", "quantiles": 3}
ADAPTER = {"rank": 4, "alpha": 0.5}


def learnt(run: MiniRun, phase: str) -> tuple[Path, Any, Any]:
    """One round, without its evaluation; the policy that it ends with."""
    run.advance(phase, 1)
    run.sample(phase, 1)
    run.score(phase, 1)
    run.tag(phase, 1)
    run.update(phase, 1)
    folder = run.path(layout.round_folder(phase, 1)) / "policy"
    return folder, *load_policy(folder, torch.float32, "cpu")


def adapter(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "adapter" / "adapter_config.json").read_text()))


def test_each_phase_trains_its_own_tags_with_the_adapter_of_the_one_before(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """Words, then tokens, then a separator beside them. The step-0 agreement holds each time."""
    change: dict[str, Any] = {"policy": {"lora": ADAPTER}, "phases": {}}
    plain = MiniRun(tmp_path, run="plain").plan.recipe.phases["align"].model_dump(mode="json")
    plain |= {"rounds": 1, "tag": plain["tag"] | {"separator": None}}
    plain["update"] |= {"steps": 3}
    change["phases"]["align"] = {"rounds": 1, "tag": {"separator": None}}
    change["phases"]["tokens"] = plain | {"tag": TOKENS}
    change["phases"]["parted"] = plain | {"tag": TOKENS | {"separator": "<|then|>"}}
    run = MiniRun(tmp_path, change).start()
    begun: list[dict[str, torch.Tensor]] = []
    put_back = learners.put_back

    def seen(*given: Any) -> Any:
        found = put_back(*given)
        begun.append({n: p.detach().clone() for n, p in found.named_parameters()})
        return found

    monkeypatch.setattr(learners, "put_back", seen)
    first, _, _ = learnt(run, "align")
    assert (adapter(first)["trainable_token_indices"], adapter(first)["lora_alpha"]) == (None, 0.5)
    second, model, tokenizer = learnt(run, "tokens")
    ids = tokenizer.convert_tokens_to_ids([f"_QUANTILE_TOKEN_{q}_" for q in range(3)])
    assert adapter(second)["trainable_token_indices"] == ids
    (name,) = (n for n in begun[0] if "trainable_tokens_delta" in n)
    moved = (model.get_input_embeddings().weight[ids] - begun[0][name]).abs().amax(dim=1)
    assert (moved > 0).all(), "rows as they were drawn tell no tag from another"
    third, model, tokenizer = learnt(run, "parted")
    ids.append(tokenizer.convert_tokens_to_ids("<|then|>"))
    assert adapter(third)["trainable_token_indices"] == ids
    moved = (model.get_input_embeddings().weight[ids] - begun[1][name]).abs().amax(dim=1)
    assert (moved > 0).all()
