"""Command-line options that several stages share."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from stages.runtime.command_line import run_command
from stages.runtime.process import run_stage

RecipeFile = Annotated[Path, typer.Option("--recipe", help="resolved recipe of the run")]
Out = Annotated[Path, typer.Option("--out", help="manifest to write; files stand beside it")]
Phase = Annotated[str, typer.Option("--phase", help="phase of the recipe")]
Round = Annotated[int, typer.Option("--round", min=0, help="round of the phase, from 1")]
PolicyFile = Annotated[Path, typer.Option("--policy", help="manifest of the policy")]
PromptsFile = Annotated[Path, typer.Option("--prompts", help="manifest of the prompts")]
QuestionsFile = Annotated[
    Path | None,
    typer.Option(
        "--questions", help="manifest of the prompts' questions, where a scorer reads them"
    ),
]
SamplesFile = Annotated[Path, typer.Option("--samples", help="manifest of the samples")]
Models = Annotated[
    list[Path] | None, typer.Option("--model", help="manifest of a trained scorer (repeat)")
]


def main(name: str, command: Callable[..., Any]) -> None:
    """Run a stage's command with the exit codes of the stage contract."""
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
    app.command(help=command.__doc__)(command)

    def body() -> None:
        code = run_command(app)
        if code:
            sys.exit(code)

    run_stage(name, body)
