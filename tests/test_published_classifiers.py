"""The settings that docs/recipes.md gives for published classifiers, on small models like them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from house import ROOT
from pydantic import TypeAdapter
from recipes import recipe
from tiny_models import PAD, VOCAB, tiny_tokenizer
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    PreTrainedModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from stages.models import device
from stages.rewards.build import build_scorer
from stages.rewards.classifier import Classifier
from stages.rewards.protocol import Scorable
from stages.rewards.scoring import open_scorers
from stages.runtime.errors import UserError
from stages.settings.labels import check_activation
from stages.settings.scorers import ClassifierScorer, ScorerSettings
from workflow.checks import check_recipe

IDENTITIES = ["male", "female", "homosexual_gay_or_lesbian", "christian", "jewish", "muslim"]
IDENTITIES += ["black", "white", "psychiatric_or_mental_illness"]
MULTI, SINGLE = "multi_label_classification", "single_label_classification"
SIX = ["toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate"]
SEVEN = ["toxicity", "severe_toxicity", "obscene", "identity_attack", "insult", "threat"]
SEVEN += ["sexual_explicit"]
# Architecture, labels and problem type of each; None: the names that the library makes up.
PUBLISHED: dict[str, tuple[str, list[str] | None, str | None]] = {
    "s-nlp/roberta_toxicity_classifier": ("roberta", ["neutral", "toxic"], SINGLE),
    "unitary/toxic-bert": ("bert", SIX, MULTI),
    "unitary/unbiased-toxic-roberta": ("roberta", SEVEN + IDENTITIES, MULTI),
    "textdetox/xlmr-large-toxicity-classifier": ("xlm-roberta", None, SINGLE),
    "facebook/roberta-hate-speech-dynabench-r4-target": ("roberta", ["nothate", "hate"], None),
    "martin-ha/toxic-comment-model": ("distilbert", ["non-toxic", "toxic"], None),
    "nicholasKluge/ToxicityModel": ("roberta", ["LABEL_0"], None),
}
KINDS: dict[str, Any] = {
    "bert": (BertConfig, BertForSequenceClassification),
    "roberta": (RobertaConfig, RobertaForSequenceClassification),
    "xlm-roberta": (XLMRobertaConfig, XLMRobertaForSequenceClassification),
    "distilbert": (DistilBertConfig, DistilBertForSequenceClassification),
}
ROWS = [Scorable(str(i), "", text) for i, text in enumerate(["you", "are kind", "x" * 30])]


def settings_of_the_docs() -> dict[str, Any]:
    page = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    text = page.split("\n## Local toxicity classifiers\n")[1].split("\n## ")[0]
    blocks = [
        yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.M | re.S)
    ]
    named = {name: value for block in blocks for name, value in block["scorers"].items()}
    return {value["model"]: value for value in named.values() if value["kind"] == "classifier"}


def model_like(name: str) -> PreTrainedModel:
    """A small random model with the architecture and the label map of a published one."""
    family, labels, problem = PUBLISHED[name]
    config_kind, model_kind = KINDS[family]
    sizes: dict[str, Any] = {"vocab_size": VOCAB, "pad_token_id": PAD, "initializer_range": 0.3}
    sizes |= {"max_position_embeddings": 64}
    if family == "distilbert":
        sizes |= {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}
    else:
        sizes |= {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
        sizes |= {"intermediate_size": 32}
    config = config_kind(**sizes, problem_type=problem)
    if labels is not None:
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
    torch.manual_seed(0)
    return model_kind(config).eval()


def folder_like(name: str, folder: Path) -> Path:
    model_like(name).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def test_the_docs_name_all_of_them_and_no_other() -> None:
    assert set(settings_of_the_docs()) == set(PUBLISHED)
    text = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
    assert all(f"| `{name}`" in text for name in PUBLISHED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_value_is_what_the_label_says(tmp_path: Path, name: str) -> None:
    given = settings_of_the_docs()[name]
    settings = TypeAdapter(ScorerSettings).validate_python(
        given | {"model": str(folder_like(name, tmp_path))}
    )
    _, labels, problem = PUBLISHED[name]
    index = given["label"] if isinstance(given["label"], int) else labels.index(given["label"])
    model = model_like(name)
    found = [score.value for score in build_scorer(settings, device="cpu").score(ROWS)]
    for value, row in zip(found, ROWS, strict=True):
        with torch.no_grad():
            ids = torch.tensor([tiny_tokenizer()(row.response)["input_ids"]])
            logits = model(input_ids=ids).logits[0].double()
        if labels is not None and len(labels) == 1:
            expected = logits[0]
        else:
            expected = logits.sigmoid()[index] if problem == MULTI else logits.softmax(0)[index]
        assert value == pytest.approx(float(expected), abs=1e-5)
    assert len({round(value or 0, 3) for value in found}) == len(ROWS)


@pytest.mark.parametrize("name", PUBLISHED)
def test_its_settings_are_checked_before_any_job_starts(tmp_path: Path, name: str) -> None:
    folder = folder_like(name, tmp_path)
    given = settings_of_the_docs()[name] | {"model": str(folder), "attribute": "toxicity"}

    def planned(**change: Any) -> None:
        check_recipe(recipe(set={"scorers": {"published": given | change}}))

    planned()
    with pytest.raises(UserError, match=rf"has no label 'absent' \(scorers\.published: {folder}"):
        planned(label="absent")
    if PUBLISHED[name][2] is not None:
        other = {"softmax": "sigmoid", "sigmoid": "softmax"}[given.get("activation", "softmax")]
        with pytest.raises(UserError, match=r"no probability \(scorers\.published"):
            planned(activation=other)
        with pytest.raises(UserError, match="no probability"):
            build_scorer(ClassifierScorer(**given | {"activation": other}), device="cpu")


def test_a_model_without_label_names_in_its_config_has_the_librarys(tmp_path: Path) -> None:
    folder = folder_like("textdetox/xlmr-large-toxicity-classifier", tmp_path)
    given = settings_of_the_docs()["textdetox/xlmr-large-toxicity-classifier"]
    given |= {"model": str(folder)}
    for label in (1, "LABEL_1"):
        check_recipe(recipe(set={"scorers": {"published": given | {"label": label}}}))
    (folder / "config.json").write_text("[]")
    with pytest.raises(UserError, match=r"config\.json is not a model's"):
        check_recipe(recipe(set={"scorers": {"published": given}}))


def test_a_bare_logit_is_always_allowed() -> None:
    for problem in (None, MULTI, SINGLE, "regression"):
        check_activation("none", 2, problem)
    check_activation("sigmoid", 1, SINGLE)
    with pytest.raises(UserError, match="always 1"):
        check_activation("softmax", 1)


@pytest.mark.parametrize(
    ("precision", "numbers"), [("auto", "bf16"), ("bf16", "bf16"), ("fp32", "fp32")]
)
def test_a_scorer_computes_where_the_other_stages_do(
    tmp_path: Path, precision: Any, numbers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine with a GPU: its device, and the recipe's precision (``auto``: bf16)."""
    placed: list[torch.device] = []
    gpu = torch.device("cuda")
    monkeypatch.setattr(device, "pick_device", lambda: gpu)
    monkeypatch.setattr(
        PreTrainedModel, "to", lambda self, place: placed.append(place) or self, raising=True
    )
    name = "s-nlp/roberta_toxicity_classifier"
    given = settings_of_the_docs()[name] | {"model": str(folder_like(name, tmp_path))}
    judges = {"published": ClassifierScorer(**given)}
    scorer = open_scorers(judges, tmp_path, precision)["published"].inner
    assert isinstance(scorer, Classifier)
    assert placed == [gpu]
    assert scorer.precision == numbers


def test_without_a_gpu_it_is_the_cpu_in_full_numbers(tmp_path: Path) -> None:
    name = "s-nlp/roberta_toxicity_classifier"
    given = settings_of_the_docs()[name] | {"model": str(folder_like(name, tmp_path))}
    scorer = build_scorer(ClassifierScorer(**given), device="cpu").inner
    assert isinstance(scorer, Classifier)
    assert (scorer.model.device.type, scorer.precision) == ("cpu", "fp32")
