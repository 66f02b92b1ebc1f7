"""The `rondo` command: a look at what a run will do, did and left behind, without torch.

Each command stands in a file of its own in ``workflow/commands``.
"""

from __future__ import annotations

import sys
from typing import NoReturn

import typer

from stages.runtime.atomic import explain_disk
from stages.runtime.command_line import run_command
from stages.runtime.errors import EXIT_FAILURE, EXIT_USER, UserError
from stages.runtime.inert import visible_traceback
from workflow.commands.accept import accept
from workflow.commands.browse import browse
from workflow.commands.compare import compare
from workflow.commands.doctor import doctor
from workflow.commands.lineage import lineage
from workflow.commands.plan import plan
from workflow.commands.schema import schema
from workflow.commands.unlock import unlock

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Look at runs of Rondo. Runs themselves are started with make or snakemake.",
)
for command in (plan, browse, compare, lineage, accept, doctor, unlock, schema):
    app.command(help=command.__doc__)(command)


def main() -> NoReturn:
    """Entry point: a mistake is one line and exit code 2."""
    try:
        sys.exit(run_command(app))
    except UserError as error:
        print(f"error: {error.line()}", file=sys.stderr)
        sys.exit(EXIT_USER)
    except Exception as error:
        line = explain_disk(error)
        print(f"error: {line}" if line else visible_traceback(error), file=sys.stderr)
        sys.exit(EXIT_FAILURE)


if __name__ == "__main__":
    main()
