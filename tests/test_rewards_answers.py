"""Scorers of segments and of whole answers, on models in memory and on the disk."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import ENCODERS, save_tiny_policy, tiny_bert, tiny_gpt2, tiny_tokenizer
from transformers import PreTrainedModel

from stages.models.backbones import load_backbone
from stages.models.heads import HeadShape, headed
from stages.rewards.build import build_scorer
from stages.rewards.preference import (
    Moments,
    PreferenceDescription,
    PreferenceJudge,
    PreferenceModel,
    moments,
    write_preference,
)
from stages.rewards.protocol import Scorable
from stages.rewards.qa_network import QaNetwork, name_outputs, natural_pool, network
from stages.rewards.qa_reading import segmented_text
from stages.rewards.spans import (
    SpanDescription,
    SpanJudge,
    SpanModel,
    error_chances,
    read_span,
    span_model,
    write_span,
)
from stages.runtime.errors import UserError
from stages.settings.answer_scorers import PreferenceScorer, SegmentValues, SpanScorer
from stages.text.qa_prompts import Passage, QaPrompt
from stages.text.segments import segments_of
from stages.text.sentences import load_sentences

CPU = torch.device("cpu")
SENTENCES = load_sentences("sentencizer")
ASKED = QaPrompt("Who built the mill?", (Passage("Mill", "Ann built it."),))
TEXTS = [
    "Ann built the mill. It burnt down! The people of the town talk of it.",
    "Nobody knows.",
    "",
    " \n ",
    "The baker and the miller talk to the people of the small town. It is old.",
]
ROWS = [Scorable(f"s{i}", "prompt", text, ASKED) for i, text in enumerate(TEXTS)]
TRAINING: dict[str, Any] = {"steps": 1, "batch_size": 1, "optimizer": {"lr": 1e-3}}


def net(
    pool: str, outputs: tuple[str, ...], backbone: PreTrainedModel | None = None, budget: int = 4096
) -> QaNetwork:
    stack = tiny_bert() if backbone is None else backbone
    model = headed(stack, HeadShape(pool, outputs), seed=1)
    name_outputs(model)
    return network(model, tiny_tokenizer(), None, budget, "fp32")


def spans(budget: int = 4096, **changes: Any) -> SpanModel:
    description = SpanDescription("facts", "F-ERR", "sentence", "plain", SENTENCES.name)
    made = net("places", ("F-ERR", "O"), budget=budget, **changes)
    return span_model(made, description, "here")


def judge(model: SpanModel, answer: str = "sum") -> SpanJudge:
    return SpanJudge(model, SENTENCES, SegmentValues(no_error=0.5, error=-0.5), answer)


def settings(**changes: Any) -> SpanScorer:
    said = {"kind": "span", "attribute": "facts", "better": "high", "level": "sentence"}
    return SpanScorer(**said, category="F-ERR", sentences="sentencizer", **TRAINING, **changes)


# Segments


def test_each_sentence_has_its_value_and_the_answer_their_sum_or_mean() -> None:
    model = spans()
    with torch.no_grad():  # so that some segments of these are on either side
        texts = [(ASKED, judged(model, text)) for text in (TEXTS[0], TEXTS[4])]
        model.network.model.head.bias[1] -= float(np.median(np.concatenate(model.margins(texts))))
    margins = model.margins([(ASKED, judged(model, text)) for text in (TEXTS[0], TEXTS[4])])
    found = {score.sample_id: score for score in judge(model).score(ROWS)}
    for sample, margin in zip(("s0", "s4"), margins, strict=True):
        values = [0.5 if one > 0 else -0.5 for one in margin]
        assert [span.value for span in found[sample].spans] == values
        assert found[sample].value == pytest.approx(sum(values))
    words = [TEXTS[0][span.start : span.end] for span in found["s0"].spans]
    assert words == ["Ann built the mill.", "It burnt down!", "The people of the town talk of it."]
    assert {span.value for score in found.values() for span in score.spans} == {0.5, -0.5}
    means = {score.sample_id: score for score in judge(model, "mean").score(ROWS)}
    assert means["s0"].value == pytest.approx(sum(s.value for s in means["s0"].spans) / 3)


def judged(model: SpanModel, text: str) -> list[Any]:
    return segments_of(text, SENTENCES(text), model.description.level)


def test_an_answer_without_a_segment() -> None:
    """The sum of nothing is 0 (spec 6.1); the mean of nothing is not known."""
    for kind, value in (("sum", 0.0), ("mean", None)):
        found = list(judge(spans(), kind).score(ROWS[2:4]))
        assert [(score.value, score.spans) for score in found] == [(value, ())] * 2


def test_an_exact_tie_is_an_error() -> None:
    model = spans()
    with torch.no_grad():
        model.network.model.head.weight.zero_()
        model.network.model.head.bias.zero_()
    assert {span.value for score in judge(model).score(ROWS) for span in score.spans} == {-0.5}


def test_chances_are_of_the_two_labels_alone() -> None:
    assert error_chances(np.array([0.0, math.log(3), -1e9])) == pytest.approx([0.5, 0.25, 1.0])


@pytest.mark.parametrize("name", [*ENCODERS, "gpt2"])
def test_batches_and_padding_change_no_margin(name: str, tmp_path: Path) -> None:
    make = ENCODERS.get(name, tiny_gpt2)
    backbone, _ = load_backbone(save_tiny_policy(tmp_path, make()), torch.float32)
    truth = None
    for budget in (1, 200, 10_000):
        model = spans(budget, backbone=backbone)
        rows = [(ASKED, judged(model, text)) for text in (TEXTS[0], TEXTS[1], TEXTS[4])]
        found = np.concatenate(model.margins(rows))
        back = np.concatenate(model.margins(rows[::-1])[::-1])
        truth = found if truth is None else truth
        assert found == pytest.approx(truth, abs=1e-5) and back == pytest.approx(truth, abs=1e-5)
    assert truth is not None and truth.std() > 0.01
    assert model.network.marks == ("after" if name == "gpt2" else "before")


def test_a_decoder_has_read_a_segment_where_it_judges_it(tmp_path: Path) -> None:
    backbone, _ = load_backbone(save_tiny_policy(tmp_path, tiny_gpt2()), torch.float32)
    model = spans(backbone=backbone)
    first, second = (
        model.margins([(ASKED, judged(model, text))])[0]
        for text in ("Ann did. It is old.", "Bob did. It is old.")
    )
    assert abs(first[0] - second[0]) > 1e-3


def test_the_label_map_of_the_config_says_which_output_is_which(tmp_path: Path) -> None:
    """The published rewards take the indices for granted (8.1)."""
    model = spans()
    write_span(model, tmp_path / "model")
    rows = [(ASKED, judged(model, TEXTS[0]))]
    truth = model.margins(rows)[0]
    assert read_span(tmp_path / "model", 4096, "fp32", CPU).margins(rows)[0] == pytest.approx(truth)
    change_labels(tmp_path / "model", {"0": "O", "1": "F-ERR"})
    turned = read_span(tmp_path / "model", 4096, "fp32", CPU).margins(rows)[0]
    assert turned == pytest.approx(-truth)


def change_labels(folder: Path, labels: dict[str, str]) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    assert config["id2label"] == {"0": "F-ERR", "1": "O"}
    config["id2label"] = labels
    config["label2id"] = {name: int(index) for index, name in labels.items()}
    path.write_text(json.dumps(config))


def test_a_label_that_nobody_judges_by_is_not_considered() -> None:
    """Published models have a third output, Ignore, that was never trained (8.1)."""
    description = SpanDescription("facts", "F-ERR", "sentence", "plain", SENTENCES.name)
    three = span_model(net("places", ("F-ERR", "Ignore", "O")), description, "here")
    rows = [(ASKED, judged(three, TEXTS[0]))]
    before = three.margins(rows)[0]
    with torch.no_grad():
        three.network.model.head.bias[1] += 100
    assert three.margins(rows)[0] == pytest.approx(before, abs=1e-6)
    assert (three.error, three.no_error) == (0, 2)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"0": "NF-ERR", "1": "O"}, r"no label 'F-ERR'; it has \['NF-ERR', 'O'\]"),
        ({"0": "F-ERR", "1": "fine"}, "no label 'O'"),
        ({"0": "F-ERR", "1": "O", "2": "more"}, "does not fit a head of 2 outputs"),
    ],
)
def test_labels_that_do_not_match_the_model(
    labels: dict[str, str], message: str, tmp_path: Path
) -> None:
    write_span(spans(), tmp_path / "model")
    change_labels(tmp_path / "model", labels)
    with pytest.raises(UserError, match=message):
        read_span(tmp_path / "model", 4096, "fp32", CPU)


def test_the_scorer_of_a_recipe(tmp_path: Path) -> None:
    write_span(spans(), tmp_path / "model")
    made = build_scorer(
        settings(values={"no_error": 0.5, "error": -0.5}, answer="sum"), tmp_path / "model", "fp32"
    )
    assert list(made.score(ROWS)) == list(judge(spans()).score(ROWS))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sentences_by": "another, spacy 1"}, "learnt sentences of another, spacy 1"),
        ({"level": "sub_sentence"}, "judges F-ERR by sub_sentence"),
        ({"level": "word"}, "damaged"),
        ({"kind": "preference"}, "no scorer of kind span"),
    ],
)
def test_a_model_of_something_else(change: dict[str, str], message: str, tmp_path: Path) -> None:
    write_span(spans(), tmp_path / "model")
    path = tmp_path / "model" / "scorer.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=message):
        build_scorer(settings(), tmp_path / "model", "fp32")


def test_a_prompt_without_its_question() -> None:
    with pytest.raises(UserError, match="without its question"):
        list(judge(spans()).score([replace(ROWS[0], asked=None)]))


def test_segments_behind_what_the_model_reads_have_no_span(logged: list[Any]) -> None:
    model = spans()
    (whole,) = model.network.read([segmented_text(ASKED, "none", judged(model, TEXTS[0]))])
    limit = whole.marks[2] - whole.marks[0] + 8
    short = SpanModel(replace(model.network, limit=limit), model.description, 0, 1)
    (score,) = judge(short).score(ROWS[:1])
    assert len(score.spans) == 2
    (event,) = [e for e in logged if e["event"] == "texts_longer_than_the_model_reads"]
    assert event["answers_cut"] == 1


@pytest.mark.parametrize("kind", ["sum", "mean"])
def test_an_answer_of_which_no_segment_is_read_has_no_value(kind: str) -> None:
    """It has segments, so their sum is not that of nothing."""
    model = spans()
    (score,) = judge(replace(model, network=replace(model.network, limit=8)), kind).score(ROWS[:1])
    assert (score.value, score.spans) == (None, ())


def test_nothing_to_read_is_read_as_nothing() -> None:
    assert spans().network.read([]) == []


# Whole answers


def preference(backbone: PreTrainedModel | None = None, budget: int = 4096) -> PreferenceModel:
    stack = tiny_bert() if backbone is None else backbone
    pool = natural_pool(stack, tiny_tokenizer())
    made = net(pool, ("completeness",), stack, budget)
    return PreferenceModel(made, PreferenceDescription("completeness", "plain"))


def wanted(**changes: Any) -> PreferenceScorer:
    said = {"kind": "preference", "attribute": "completeness", "better": "high"}
    return PreferenceScorer(**said, data="completeness", **TRAINING, **changes)


def test_values_by_their_own_scale_and_as_z_scores(tmp_path: Path) -> None:
    model = preference()
    write_preference(model, Moments(9, 2.0, 4.0), tmp_path / "model")
    raw = model.values([(ASKED, TEXTS[0])])[0]
    for change, value in (
        ({}, raw),
        ({"scale": 2.0, "bias": 1.0}, raw * 2 + 1),
        ({"normalise": "z", "scale": 0.3}, (raw - 2) / 4 * 0.3),
    ):
        made = build_scorer(wanted(**change), tmp_path / "model", "fp32")
        found = [score.value for score in made.score(ROWS)]
        assert found[0] == pytest.approx(value, abs=1e-6)
        # As with all networks: who says nothing is not judged.
        assert found[2:4] == [None, None] and None not in (found[0], found[1], found[4])


@pytest.mark.parametrize("name", [*ENCODERS, "gpt2"])
def test_batches_and_padding_change_no_value(name: str, tmp_path: Path) -> None:
    make = ENCODERS.get(name, tiny_gpt2)
    backbone, _ = load_backbone(save_tiny_policy(tmp_path, make()), torch.float32)
    rows = [(ASKED, text) for text in (TEXTS[0], TEXTS[1], TEXTS[4])]
    alone = np.concatenate([preference(backbone).values([row]) for row in rows])
    for budget in (1, 250, 10_000):
        assert preference(backbone, budget).values(rows) == pytest.approx(alone, abs=1e-5)
    assert alone.std() > 0.001


def test_moments_are_those_of_the_population() -> None:
    found = moments(np.array([1.0, 3.0]), "here")
    assert found == Moments(2, 2.0, 1.0)
    with pytest.raises(UserError, match="all 3 training answers the same value"):
        moments(np.ones(3), "here")


def test_an_answer_is_pooled_where_its_architecture_gathers_it(tmp_path: Path) -> None:
    assert natural_pool(tiny_gpt2().base_model, tiny_tokenizer()) == "last"
    assert natural_pool(tiny_bert(), tiny_tokenizer()) == "mean"


def test_a_low_value_is_never_preferred() -> None:
    with pytest.raises(ValueError, match="better must be high"):
        PreferenceScorer(
            kind="preference", attribute="a", better="low", data="preferences", **TRAINING
        )
    with pytest.raises(ValueError, match="no_error must be the better one"):
        settings(values={"no_error": 0.0, "error": 1.0})


def test_the_judge_of_a_model_keeps_its_order() -> None:
    found = list(PreferenceJudge(preference()).score(ROWS))
    assert [score.sample_id for score in found] == [row.sample_id for row in ROWS]


def test_the_marks_of_an_encoder_may_stand_behind_segments(tmp_path: Path) -> None:
    """And they stand there again when the model is read."""
    made = spans()
    behind = network(made.network.model, made.network.tokenizer, None, 4096, "fp32", "after")
    assert (made.network.marks, behind.marks) == ("before", "after")
    text = "Ann built the mill. It burnt down!"
    found = segmented_text(ASKED, "plain", segments_of(text, SENTENCES(text), "sentence"))
    (before,), (after,) = made.network.read([found]), behind.read([found])
    first, second = after.marks
    # The mark before the first segment moves what follows by one; the last stands behind all.
    assert before.marks[0] < first and before.marks[1] == first + 1
    said = after.token_ids[first + 1 : second]
    assert before.token_ids[before.marks[1] + 1 :][: len(said)] == said
    write_span(span_model(behind, made.description, "here"), tmp_path / "made")
    assert read_span(tmp_path / "made", 4096, "fp32", CPU).network.marks == "after"


def test_marks_before_what_a_decoder_has_not_read_are_refused_by_the_recipe() -> None:
    assert settings(marks="before").marks == "before"
    with pytest.raises(ValueError, match="marks: before is for one stack"):
        settings(marks="before", stacks="both")
