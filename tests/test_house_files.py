"""Style, types, rules and words of all files under version control."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from house import ROOT, tracked_files

BIN = Path(sys.executable).parent

# Written in pieces, so that this file does not hold what it looks for.
UNWANTED = {
    "a path of one machine": r"(?<![\w.])/(?:wo" + r"rk|ho" + r"me|ro" + r"ot|op" + r"t)/\w",
    "a package registry's host": r"pypi\.o" + r"rg|pythonhosted\.o" + r"rg|anaconda\.o" + r"rg",
    "unfinished work": r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX|HA" + r"CK)\b",
    "a stub": r"raise NotImplemented" + r"Error",
    "a conflict": r"^(?:<{7}|>{7}) ",
}


def texts() -> list[tuple[Path, str]]:
    found = []
    for path in tracked_files():
        raw = path.read_bytes()
        if b"\0" not in raw:
            found.append((path.relative_to(ROOT), raw.decode("utf-8")))
    return found


@pytest.mark.parametrize("what", UNWANTED)
def test_no_file_holds(what: str) -> None:
    found = [
        f"{path}:{number}: {line.strip()[:80]}"
        for path, text in texts()
        for number, line in enumerate(text.splitlines(), start=1)
        if re.search(UNWANTED[what], line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("a path of one machine", "open('/wo" + "rk/x')"),
        ("a package registry's host", "https://py" + "pi.org/simple"),
        ("unfinished work", "# TO" + "DO later"),
        ("a stub", "    raise NotImplemented" + "Error"),
    ],
)
def test_the_search_finds_what_it_looks_for(what: str, line: str) -> None:
    assert re.search(UNWANTED[what], line)
    assert not re.search(UNWANTED[what], "https://huggingface.co/x /nowhere/y artwork/z")


def test_files_end_with_one_line_break_and_no_line_with_blanks() -> None:
    wrong = [
        str(path)
        for path, text in texts()
        # A model's files are as its library wrote them.
        if text
        and not {"base_model", "reader_model"} & set(path.parts)
        and (not text.endswith("\n") or re.search(r"[ \t]\n", text))
    ]
    assert wrong == []


def test_no_large_file_is_tracked() -> None:
    large = [path for path in tracked_files() if path.stat().st_size > 8 << 20]
    assert large == []


def run(*command: str) -> str:
    """What a check has found: its output if it failed, nothing if it passed."""
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if ended.returncode == 0 else ended.stdout + ended.stderr


def test_style() -> None:
    assert run(str(BIN / "ruff"), "check", "--output-format=concise", ".") == ""


def test_format() -> None:
    assert run(str(BIN / "ruff"), "format", "--check", ".") == ""


@pytest.mark.slow
def test_types() -> None:
    assert run(str(BIN / "mypy"), "--no-error-summary") == ""


def test_rules_are_in_form() -> None:
    assert run(str(BIN / "snakefmt"), "--check", "Snakefile", "workflow/rules") == ""


def test_rules_have_no_lint() -> None:
    assert run(str(BIN / "snakemake"), "--lint") == ""


def test_every_shell_script_parses() -> None:
    bash = shutil.which("bash")
    assert bash is not None
    assert run(bash, "-n", ".ci/run") == ""
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
