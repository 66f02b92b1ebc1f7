"""A mistake in a recipe ends Snakemake with one line, not with a traceback."""

from __future__ import annotations

import contextlib
import os
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stages.runtime.atomic import explain_disk
from stages.runtime.errors import EXIT_USER, UserError
from stages.runtime.process import INVOCATION
from workflow.checks import check_data_is_named
from workflow.environment import prepare_environment
from workflow.planner import Plan, load_plan
from workflow.records import check_records


def plan_or_exit(config: Mapping[str, Any]) -> Plan:
    """The plan for a Snakefile; a UserError becomes one line and exit code 2.

    ``os._exit`` because Snakemake wraps every exception of a Snakefile, ``SystemExit`` included,
    in a report of several lines. Nothing has been started or locked at this point.

    Jobs inherit the name of this run of Snakemake, so that a retry knows the failure of its own
    run from one that a person has mended since.
    """
    os.environ.setdefault(INVOCATION, uuid.uuid4().hex)
    prepare_environment()
    try:
        plan = load_plan(config)
        check_data_is_named(plan.recipe)
        check_records(plan.recipe, Path(plan.root))
        return plan
    except UserError as error:
        print(f"error: {error.line()}", file=sys.stderr, flush=True)
        os._exit(EXIT_USER)


@contextlib.contextmanager
def told_by_snakemake() -> Iterator[None]:
    """Where Snakemake holds its lock: trouble with the disk as its own error, without traceback."""
    from snakemake.exceptions import WorkflowError

    try:
        yield
    except OSError as error:
        line = explain_disk(error)
        if line is None:
            raise
        raise WorkflowError(f"error: {line}") from None
