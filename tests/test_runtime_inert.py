"""Generated text cannot act, hide or flood."""

from __future__ import annotations

import unicodedata

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from stages.reporting.inert import environment
from stages.runtime.inert import LONGEST, is_hidden, one_line, visible, visible_traceback


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, 1 < 2", "plain text, 1 < 2"),
        ("\x1b[31mred\x07", "␛[31mred␇"),
        ("a\x00b\x7f", "a␀b␡"),
        ("\x9b31m", "⟨U+009B⟩31m"),
        ("abc\u202egnp.exe", "abc⟨U+202E⟩gnp.exe"),
        ("\u2066iso\u2069\u200f\u061c", "⟨U+2066⟩iso⟨U+2069⟩⟨U+200F⟩⟨U+061C⟩"),
        ("two\r\nlines\tand\rmore", "two\nlines\tand␍more"),
        ("zero\u200bwidth\ufeff", "zero⟨U+200B⟩width⟨U+FEFF⟩"),
        ("\u2028\ue000\U000e0041", "⟨U+2028⟩⟨U+E000⟩⟨U+E0041⟩"),
        ("عربي می\u200cخواهم", "عربي می\u200cخواهم"),
        ("family 👩\u200d👩\u200d👧 👍🏽", "family 👩\u200d👩\u200d👧 👍🏽"),
        ("e\u0301" + "o" + "\u0335" * 500, "e\u0301" + "o" + "\u0335" * 4),
    ],
)
def test_hidden_characters_are_shown(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_flood_is_cut_with_a_note() -> None:
    shown = visible("x" * 1_000_000, limit=100)
    assert shown == "x" * 100 + " … [999,900 more characters]"
    assert len(visible("y" * 1_000_000)) < LONGEST + 50


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_nothing_hidden_is_left(text: str) -> None:
    left = {unicodedata.category(c) for c in visible(text) if c not in "\n\t\u200c\u200d"}
    assert not left & {"Cc", "Cf", "Co", "Cn", "Zl", "Zp"}


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_one_line_is_one_line_of_bounded_length(text: str) -> None:
    line = one_line(text, 40)
    assert len(line) <= 40
    assert not [c for c in line if is_hidden(c)]
    assert line == " ".join(line.split())


def test_one_line_of_a_flood_is_cut() -> None:
    assert one_line("x" * 1_000_000, 10) == "x" * 9 + "…"
    assert one_line("ten signs.", 10) == "ten signs."
    assert one_line(" " * 1_000_000, 10).endswith("…")


def test_a_traceback_shows_what_its_message_hides() -> None:
    try:
        raise ValueError("\x1b[31m" + "\n" * 5_000 + "z" * 9_000)
    except ValueError as error:
        shown = visible_traceback(error)
    assert "ValueError: ␛[31m" in shown
    assert "more lines]" in shown
    assert "[7,000 more characters]" in shown
    assert len(shown.splitlines()) < 500


def test_every_expression_of_a_template_is_shown_and_escaped(tmp_path) -> None:
    (tmp_path / "t.html").write_text('<p title="{{ text }}">{{ text }}{{ svg }}{{ number }}</p>')
    page = environment(tmp_path).get_template("t.html")
    text = page.render(text='"><script>\x1b</script>', svg=Markup("<svg/>"), number=3)
    inert = "&#34;&gt;&lt;script&gt;␛&lt;/script&gt;"
    assert text == f'<p title="{inert}">{inert}<svg/>3</p>'


def test_a_name_that_is_missing_is_an_error(tmp_path) -> None:
    (tmp_path / "t.html").write_text("{{ nothing }}")
    with pytest.raises(jinja2.UndefinedError):
        environment(tmp_path).get_template("t.html").render()
