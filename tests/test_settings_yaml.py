"""YAML as people expect it, and mistakes in it with file and line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.runtime.errors import UserError
from stages.settings.yaml_file import dump_yaml, load_yaml, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("-1E3", -1000.0),
        ("1.5e+3", 1500.0),
        (".5e1", 5.0),
        ("1.e2", 100.0),
        ("1.5", 1.5),
        ("15", 15),
        ("1e5x", "1e5x"),
        ("e5", "e5"),
        ("'1e-5'", "1e-5"),
        ("> 2x", "> 2x"),
        ("null", None),
        ("~", None),
        ("a-b", "a-b"),
        ("true", True),
    ],
)
def test_scalars(text: str, value: Any) -> None:
    if text.startswith(">"):
        text = f'"{text}"'
    found = parse_yaml(f"key: {text}", "x")["key"]
    assert found == value
    assert type(found) is type(value)


# PyYAML itself writes the line breaks U+0085, U+2028 and U+2029 as they are and reads a blank.
texts = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=5)
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner),
    max_leaves=8,
)


@given(st.dictionaries(texts, values, max_size=4))
def test_what_is_dumped_is_read(value: dict[str, Any]) -> None:
    assert parse_yaml(dump_yaml(value), "x") == value


def test_a_merge_key_takes_in_a_mapping() -> None:
    text = "base: &b {lr: 1e-3, steps: 2}\nupdate:\n  <<: *b\n  steps: 3\n"
    assert parse_yaml(text, "x")["update"] == {"lr": 1e-3, "steps": 3}


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("a: 1\nb: 2\na: 3", "key 'a' is given twice", 3),
        ("a:\n  b: 1\n  b: 2", "key 'b' is given twice", 3),
        ("a: 1\n? [x]\n: 2", "a key must be a word", 2),
        ("a: [1\n", "expected", 2),
        ("a:\tb: c", "cannot start any token", 1),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor", 1),
    ],
)
def test_a_mistake_names_file_and_line(tmp_path: Path, text: str, message: str, line: int) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        load_yaml(path)
    assert caught.value.line().endswith(f"({path}, line {line})")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "settings file not found"),
        (b"\xff\xfe\x00", "settings file cannot be read"),
        (b"a: \x00", "not valid YAML"),
        (b"- 1\n- 2", "does not hold a mapping"),
        (b"false", "does not hold a mapping"),
        (b"[]", "does not hold a mapping"),
    ],
)
def test_a_file_that_holds_no_settings(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "recipe.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        load_yaml(path)
    assert str(path) in caught.value.line()


@pytest.mark.parametrize("content", ["", "# nothing\n", "---\n"])
def test_an_empty_file_holds_no_keys(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.yaml").write_text(content)
    assert load_yaml(tmp_path / "a.yaml") == {}
