"""Files and folders appear whole or not at all; disk trouble is explained in one line."""

from __future__ import annotations

import errno
import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.runtime.atomic import (
    explain_disk,
    read_json,
    whole_file,
    whole_folder,
    write_json,
    write_text,
)
from stages.runtime.errors import UserError, one_line
from stages.runtime.hashing import (
    file_digest,
    folder_digest,
    seed_from,
    settings_hash,
    short_id,
)


def test_a_file_is_seen_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with whole_file(path) as scratch:
        scratch.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_file_leaves_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as scratch:
        scratch.write_text("new")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_seen_only_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "policy"
    for content in ("old", "new"):
        with whole_folder(path) as scratch:
            (scratch / "inner").mkdir()
            (scratch / "inner" / content).write_text(content)
            assert content == "old" or (path / "inner" / "old").exists()
    assert [item.name for item in path.rglob("*")] == ["inner", "new"]
    with pytest.raises(ZeroDivisionError), whole_folder(path) as scratch:
        (scratch / "third").write_text("x")
        raise ZeroDivisionError
    assert [item.name for item in path.rglob("*")] == ["inner", "new"]
    assert list(tmp_path.iterdir()) == [path]


def test_json_with_nan_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"value": math.nan})
    assert list(tmp_path.iterdir()) == []


def test_equal_values_are_equal_bytes(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1, "a": "é"})
    write_json(tmp_path / "b", {"a": "é", "b": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_json(tmp_path / "a") == {"a": "é", "b": 1}


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EDQUOT, "no space left"),
        (errno.EFBIG, "no space left"),
        (errno.EROFS, "cannot write here"),
        (errno.EACCES, "cannot write here"),
        (errno.EPERM, "cannot write here"),
    ],
)
def test_disk_trouble_is_explained(number: int, words: str) -> None:
    line = explain_disk(OSError(number, os.strerror(number), "some/file"))
    assert line is not None
    assert words in line
    assert "some/file" in line


def test_other_os_errors_are_not_explained_away() -> None:
    assert explain_disk(OSError(errno.EIO, "input/output error")) is None


def test_a_full_disk_is_explained_where_a_library_tells_of_it_in_its_own_way() -> None:
    words = "Error while serializing: I/O error: No space left on device (os error 28)"
    assert "no space left" in str(explain_disk(ValueError(words)))
    try:
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "some/file")
        finally:
            raise RuntimeError("unexpected pos 640 vs 598")
    except RuntimeError as error:
        assert "no space left on the disk (some/file)" in str(explain_disk(error))
    assert explain_disk(RuntimeError("unexpected pos 640 vs 598")) is None


# Errors are one line


@given(st.text(max_size=300))
def test_one_line_is_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert len(line.splitlines()) <= 1


def test_hostile_text_cannot_write_to_the_terminal() -> None:
    error = UserError("bad \x1b[31mred\x07", "a\nb", "do\r\x00this\u202e")
    assert error.line() == "bad ␛[31mred␇ (a b): do␍␀this⟨U+202E⟩"


def test_a_flood_is_cut() -> None:
    assert len(one_line("x" * 100_000)) == 500


# Names and seeds


def test_a_settings_hash_depends_on_the_value_alone() -> None:
    assert settings_hash({"a": 1, "b": [1, 2]}) == settings_hash({"b": [1, 2], "a": 1})
    values = [{}, {"a": 1}, {"a": 1.5}, {"a": "1"}, {"a": None}, {"a": [1, 2]}, {"a": [2, 1]}]
    assert len({settings_hash(value) for value in values}) == len(values)


def test_ids_and_seeds_are_the_same_in_every_version() -> None:
    """Another value would make another run of every recipe."""
    assert short_id("p", "Hello") == "p" + short_id("", "Hello")
    assert short_id("p", "Hello") == "p3c5c8a1fdb206886"
    assert seed_from("run", 1, "x") == 13_638_741_865_042_736_242


@given(st.lists(st.text(max_size=3) | st.integers(0, 9), max_size=4))
def test_seeds_fit_their_column(parts: list[str | int]) -> None:
    assert 0 <= seed_from(*parts) < 2**64


def test_parts_of_a_seed_are_kept_apart() -> None:
    seeds = [seed_from("ab", "c"), seed_from("a", "bc"), seed_from("abc"), seed_from("c", "ab")]
    assert len(set(seeds)) == 4


def test_a_folder_digest_is_of_names_and_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "inner").mkdir(parents=True)
        (tmp_path / name / "inner" / "a").write_text("x")
        (tmp_path / name / ".hidden").write_text(name)
    first = folder_digest(tmp_path / "one")
    assert first == folder_digest(tmp_path / "two")
    (tmp_path / "two" / "inner" / "a").rename(tmp_path / "two" / "inner" / "b")
    assert first != folder_digest(tmp_path / "two")
    (tmp_path / "one" / "inner" / "a").write_text("y")
    assert first != folder_digest(tmp_path / "one")
    assert file_digest(tmp_path / "one" / "inner" / "a") == (
        "a1fce4363854ff888cff4b8e7875d600c2682390412a8cf79b37d0b11148b0fa"
    )


def test_manifest_json_is_readable_by_others(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": [1], "a": None})
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"a": None, "b": [1]}
