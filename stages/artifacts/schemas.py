"""One declared schema per kind of table, with a version.

A change of columns raises the version; a reader refuses any other version with one line.
Texts stand in one place: prompts in ``prompts``, answers in ``samples``. All other tables join
by id.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

SPAN = pa.struct(
    [
        pa.field("start", pa.int32(), nullable=False),
        pa.field("end", pa.int32(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)


def _struct(**fields: pa.DataType) -> pa.StructType:
    return pa.struct([pa.field(name, kind, nullable=False) for name, kind in fields.items()])


def _list(item: pa.DataType) -> pa.ListType:
    return pa.list_(pa.field("item", item, nullable=False))


@dataclass(frozen=True)
class TableKind:
    """A kind of table: its columns, its key and the rule that makes it."""

    name: str
    version: int
    schema: pa.Schema
    key: tuple[str, ...]
    made_by: str
    undigested: frozenset[str] = field(default_factory=frozenset)
    """Columns left out of the content digest: they carry rounding noise of the hardware."""


def _columns(**columns: pa.DataType | tuple[pa.DataType, bool]) -> pa.Schema:
    fields = []
    for name, kind in columns.items():
        data_type, nullable = kind if isinstance(kind, tuple) else (kind, False)
        fields.append(pa.field(name, data_type, nullable=nullable))
    return pa.schema(fields)


def _optional(data_type: pa.DataType) -> tuple[pa.DataType, bool]:
    return data_type, True


PROMPTS = TableKind(
    "prompts",
    1,
    _columns(prompt_id=pa.string(), text=pa.string(), source=pa.string()),
    key=("prompt_id",),
    made_by="prepare_prompts",
)

TEXTS = TableKind(
    "texts",
    2,
    _columns(text_id=pa.string(), thread=pa.int64(), text=pa.string()),
    key=("text_id",),
    made_by="prepare_prompts",
)

RATINGS = TableKind(
    "ratings",
    1,
    _columns(
        rating_id=pa.string(),
        prompt=pa.string(),
        response=pa.string(),
        attribute=pa.string(),
        value=pa.float64(),
        held_out=pa.bool_(),
    ),
    key=("rating_id",),
    made_by="prepare_prompts",
)

DEMONSTRATIONS = TableKind(
    "demonstrations",
    1,
    _columns(
        demonstration_id=pa.string(),
        prompt_id=pa.string(),
        prompt=pa.string(),
        response=pa.string(),
        source=pa.string(),
    ),
    key=("demonstration_id",),
    made_by="prepare_prompts",
)

QUESTIONS = TableKind(
    "questions",
    1,
    _columns(
        prompt_id=pa.string(),
        question=pa.string(),
        passages=_list(_struct(title=pa.string(), text=pa.string())),
        references=_list(pa.string()),
    ),
    key=("prompt_id",),
    made_by="prepare_prompts",
)

FEEDBACK = TableKind(
    "feedback",
    1,
    _columns(
        feedback_id=pa.string(),
        prompt_id=pa.string(),
        prompt=pa.string(),
        question=pa.string(),
        passages=_list(_struct(title=pa.string(), sentences=_list(pa.string()))),
        reference=pa.string(),
        answers=_list(pa.string()),
        annotated=_list(pa.int8()),
        errors=_list(
            _struct(
                answer=pa.int8(),
                start=pa.int32(),
                end=pa.int32(),
                kind=pa.string(),
                explanation=pa.string(),
            )
        ),
        missing=_list(_struct(kind=pa.string(), passage=pa.int32(), sentences=_list(pa.int32()))),
        corrected=pa.string(),
        preferences=_list(_struct(first=pa.int8(), second=pa.int8(), better=pa.int8())),
        held_out=pa.bool_(),
        source=pa.string(),
    ),
    key=("feedback_id",),
    made_by="prepare_prompts",
)

SEGMENT_LABELS = TableKind(
    "segment_labels",
    1,
    _columns(
        feedback_id=pa.string(),
        answer=pa.int8(),
        prompt_id=pa.string(),
        segments=_list(
            pa.struct(
                [
                    pa.field("start", pa.int32(), nullable=False),
                    pa.field("end", pa.int32(), nullable=False),
                    pa.field("label", pa.string()),
                ]
            )
        ),
        sentences_by=pa.string(),
        held_out=pa.bool_(),
    ),
    key=("feedback_id", "answer"),
    made_by="prepare_prompts",
)

COMPARISONS = TableKind(
    "comparisons",
    2,
    _columns(
        comparison_id=pa.string(),
        prompt_id=pa.string(),
        prompt=pa.string(),
        chosen=pa.string(),
        rejected=pa.string(),
        chosen_id=_optional(pa.string()),
        rejected_id=_optional(pa.string()),
        margin=_optional(pa.float64()),
        held_out=pa.bool_(),
        source=pa.string(),
    ),
    key=("comparison_id",),
    made_by="build_comparisons",
)

SAMPLES = TableKind(
    "samples",
    1,
    _columns(
        sample_id=pa.string(),
        prompt_id=pa.string(),
        phase=pa.string(),
        round=pa.int32(),
        k=pa.int32(),
        tag=_optional(pa.string()),
        quantiles=pa.list_(pa.field("item", pa.int8(), nullable=False)),
        query_ids=pa.list_(pa.field("item", pa.int32(), nullable=False)),
        response=pa.string(),
        response_ids=pa.list_(pa.field("item", pa.int32(), nullable=False)),
        logprobs_raw=pa.list_(pa.field("item", pa.float32(), nullable=False)),
        logprobs_processed=pa.list_(pa.field("item", pa.float32(), nullable=False)),
        finish_reason=pa.string(),
        temperature=pa.float32(),
        top_k=pa.int32(),
        top_p=pa.float32(),
        seed=pa.uint64(),
    ),
    key=("sample_id",),
    made_by="sample",
    undigested=frozenset({"logprobs_raw", "logprobs_processed"}),
)

SCORES = TableKind(
    "scores",
    1,
    _columns(
        sample_id=pa.string(),
        attribute=pa.string(),
        scorer=pa.string(),
        value=_optional(pa.float64()),
        spans=pa.list_(pa.field("item", SPAN, nullable=False)),
    ),
    key=("sample_id", "attribute", "scorer"),
    made_by="score",
)

POOL = TableKind(
    "pool",
    1,
    _columns(
        sample_id=pa.string(),
        prompt_id=pa.string(),
        round=pa.int32(),
        quantiles=pa.list_(pa.field("item", pa.int8(), nullable=False)),
        tag=pa.string(),
    ),
    key=("sample_id",),
    made_by="tag",
)

EDGES = TableKind(
    "edges",
    1,
    _columns(
        attribute=pa.string(),
        quantile=pa.int8(),
        count=pa.int64(),
        low=_optional(pa.float64()),
        high=_optional(pa.float64()),
        mean=_optional(pa.float64()),
    ),
    key=("attribute", "quantile"),
    made_by="tag",
)

METRICS = TableKind(
    "metrics",
    1,
    _columns(
        metric=pa.string(),
        value=pa.float64(),
        low=_optional(pa.float64()),
        high=_optional(pa.float64()),
        n=pa.int64(),
    ),
    key=("metric",),
    made_by="evaluate",
)

TRAINING_LOG = TableKind(
    "training_log",
    1,
    _columns(step=pa.int64(), name=pa.string(), value=pa.float64()),
    key=("step", "name"),
    made_by="update_policy",
)

DRAWS = TableKind(
    "draws",
    1,
    _columns(step=pa.int64(), place=pa.int32(), example_id=pa.string()),
    key=("step", "place"),
    made_by="update_policy",
)
"""What a policy learned from: the example at each place of the batch of each step (from 0)."""

KINDS: dict[str, TableKind] = {
    kind.name: kind
    for kind in (
        PROMPTS,
        TEXTS,
        RATINGS,
        DEMONSTRATIONS,
        QUESTIONS,
        FEEDBACK,
        SEGMENT_LABELS,
        COMPARISONS,
        SAMPLES,
        SCORES,
        POOL,
        EDGES,
        METRICS,
        TRAINING_LOG,
        DRAWS,
    )
}
