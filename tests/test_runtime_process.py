"""How a stage process ends: exit codes, signals, one line, nothing of a hostile text."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def start(body: str, **environment: str) -> subprocess.Popen[str]:
    """A process that runs ``body`` as a stage does."""
    program = (
        "import os, sys, time\n"
        "from stages.runtime import events, process, signals\n"
        "from stages.runtime.errors import Preempted, UserError\n"
        "from stages.runtime.progress import Progress\n"
        "def body():\n" + textwrap.indent(textwrap.dedent(body), "    ") + "\n"
        "process.run_stage('trial', body)\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(body: str, **environment: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a stage."""
    running = start(body, **environment)
    out, err = running.communicate(timeout=60)
    return running.returncode, out, err


@pytest.mark.parametrize(
    ("body", "code", "line"),
    [
        ("pass", 0, ""),
        ("raise UserError('bad', 'here', 'mend it')", 2, "error: bad (here): mend it\n"),
        ("raise Preempted('stopped')", 75, "preempted: stopped\n"),
        ("raise OSError(28, 'full', 'a.json')", 1, "error: no space left on the disk (a.json)"),
        ("raise OSError(30, 'read-only', 'a.json')", 1, "error: cannot write here (a.json)"),
        ("sys.exit(2)", 2, ""),
    ],
)
def test_each_end_has_its_code_and_one_line(body: str, code: int, line: str) -> None:
    found, out, err = ended(body)
    assert (found, out) == (code, "")
    assert err.startswith(line)
    assert len(err.splitlines()) == (1 if line else 0)


def test_a_defect_ends_with_1_and_says_where() -> None:
    code, _, err = ended("[][0]")
    assert code == 1
    assert "IndexError" in err
    assert "Traceback" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_stop_request_waits_for_the_end_of_the_batch(number: signal.Signals) -> None:
    running = start(
        """
        print("ready", flush=True)
        for batch in range(1000):
            time.sleep(0.02)
            print("batch", batch, flush=True)
            signals.leave_if_asked()
        """
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(number)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 75
    assert out.splitlines()[-1].startswith("batch ")
    assert f"preempted: stopped by {number.name}; run again to continue" in err


def test_work_that_is_not_asked_to_stop_goes_on() -> None:
    code, out, _ = ended("signals.leave_if_asked(); print(signals.stop_requested())")
    assert (code, out) == (0, "False\n")


def test_nothing_is_fetched_or_told_unless_it_is_asked_for() -> None:
    show = "print(os.environ.get('HF_HUB_OFFLINE'), os.environ['HF_HUB_DISABLE_TELEMETRY'])"
    clean = {"HF_HUB_OFFLINE": "", "HF_HUB_DISABLE_TELEMETRY": ""}
    program = f"for key in {list(clean)}: os.environ.pop(key, None)\n"
    inner = program + "process.events.configure('x')\n"
    code, out, _ = ended(
        f"{program}\ntry:\n    process.run_stage('inner', lambda: {show})\nexcept SystemExit: pass"
    )
    assert (code, out) == (0, "1 1\n")
    code, out, _ = ended(
        f"{inner}\ntry:\n    process.run_stage('inner', lambda: {show})\nexcept SystemExit: pass",
        RONDO_ONLINE="1",
    )
    assert (code, out) == (0, "None 1\n")


def test_events_are_lines_of_json_with_nothing_hostile() -> None:
    code, out, err = ended(
        r"events.event('made', text='<b>\x1b[31m\nred', rows=3); events.warning('odd', of='x')"
    )
    assert (code, out) == (0, "")
    made, odd = (json.loads(line) for line in err.splitlines())
    assert (made["event"], made["text"], made["rows"]) == ("made", "<b>␛[31m red", 3)
    assert (made["stage"], made["level"], odd["level"]) == ("trial", "info", "warning")
    assert "\x1b" not in err


NESTED = r"""{'a': ['\x1b]8;;http://evil\x07x', {'\x9b2J': ('\u202eb',)}]}"""


def test_no_value_of_an_event_is_hostile_however_deep_it_lies() -> None:
    code, _, err = ended(f"events.event('odd', found={NESTED}, error=ValueError('\\x1b[2J'))")
    assert code == 0
    (line,) = [json.loads(text) for text in err.splitlines()]
    assert line["found"] == {"a": ["␛]8;;http://evil␇x", {"⟨U+009B⟩2J": ["⟨U+202E⟩b"]}]}
    assert line["error"] == "ValueError('\\x1b[2J')"


def test_a_person_who_watches_sees_nothing_hostile_either() -> None:
    """The same through a terminal: nothing but printable characters and line breaks."""
    program = (
        "from stages.runtime import events\n"
        "import structlog\n"
        "events.configure('trial')\n"
        f"events.event('odd \\x1b[2J', found={NESTED}, text='\\x1b[31m\\u202e')\n"
        "try:\n    raise ValueError('\\x1b]0;title\\x07')\n"
        "except ValueError:\n    structlog.get_logger().exception('failed')\n"
    )
    shown = on_a_terminal([sys.executable, "-c", program])
    assert "ValueError: ␛]0;title␇" in shown
    assert [c for c in shown if not c.isprintable() and c not in "\r\n"] == []


def on_a_terminal(command: list[str]) -> str:
    """What a command writes to a terminal."""
    ours, theirs = pty.openpty()
    running = subprocess.Popen(command, cwd=ROOT, stdout=theirs, stderr=theirs)
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # the end of a terminal is an error on Linux
        while piece := os.read(ours, 65536):
            written += piece
    os.close(ours)
    assert running.wait(timeout=60) == 0, written
    return written.decode()


def test_a_defect_in_the_face_of_hostile_text_says_so_harmlessly() -> None:
    code, _, err = ended(r"raise ValueError('\x1b]8;;http://evil\x07' + 'x' * 1_000_000)")
    assert code == 1
    assert "Traceback" in err
    assert "␛]8;;http://evil␇" in err
    assert "more characters" in err
    assert len(err) < 10_000
    assert "\x1b" not in err


def test_a_file_name_is_no_way_to_the_terminal() -> None:
    code, _, err = ended(r"open('/nowhere/\x1b[2J')" + "\n")
    assert code == 1
    code, _, err = ended(r"raise OSError(28, 'full', '\x1b[2Ja.json')")
    assert (code, err[:47]) == (1, "error: no space left on the disk (␛[2Ja.json): ")


def test_what_libraries_write_to_the_log_is_harmless_too() -> None:
    code, _, err = ended(
        r"""
        import logging, warnings
        warnings.warn("\x1b[31mred\u202e")
        logging.getLogger("library").warning("\x1b]0;title\x07")
        print("\x9b2J" + "y" * 30_000, file=sys.stderr)
        """
    )
    assert code == 0
    assert "UserWarning: ␛[31mred⟨U+202E⟩" in err
    assert "␛]0;title␇" in err
    assert "⟨U+009B⟩2J" + "y" * 30_000 in err
    assert [c for c in err if not c.isprintable() and c != "\n"] == []


def test_progress_in_a_log_is_a_line_now_and_then() -> None:
    code, _, err = ended(
        """
        with Progress("sampling", 50, done=20) as progress:
            for _ in range(30):
                progress.advance()
        """
    )
    assert code == 0
    (line,) = [json.loads(text) for text in err.splitlines()]
    assert (line["event"], line["work"], line["done"], line["total"]) == (
        "progress",
        "sampling",
        50,
        50,
    )


def test_a_second_stop_request_is_no_reason_to_die() -> None:
    running = start(
        """
        print("ready", flush=True)
        while not signals.stop_requested():
            time.sleep(0.01)
        print("asked", flush=True)
        time.sleep(0.2)
        signals.leave_if_asked()
        """
    )
    assert running.stdout is not None
    assert running.stdout.readline() == "ready\n"
    running.send_signal(signal.SIGTERM)
    assert running.stdout.readline() == "asked\n"
    for _ in range(3):
        running.send_signal(signal.SIGTERM)
        time.sleep(0.01)
    running.communicate(timeout=60)
    assert running.returncode == 75
