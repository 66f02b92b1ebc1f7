"""Every figure that a recipe promises is drawn, as part of the page and as a file of its own."""

from __future__ import annotations

import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from fake_run import FakeRun
from recipes import recipe
from test_report_page import HOSTILE, command

from stages.reporting.cautions import cautions
from stages.reporting.collect import collect
from stages.reporting.figures.standalone import SPACE
from stages.reporting.figures.style import CARD, INK, JUDGE, MUTED, SCORER, tag_colors
from stages.reporting.figures.svg import DRAWN
from stages.reporting.figures.themes import NEUTRAL_ON_DARK, on_dark, themed
from stages.reporting.gallery import DRAW, DRAW_OF_RUN, Gallery
from stages.reporting.page import render
from stages.settings.figures import figure_slots

SMALL = {"prompts": 12, "answers": 2}


def checked(text: str) -> ET.Element:
    """A file's drawing, of known elements, with nothing that reaches outside."""
    root = ET.fromstring(text)
    assert root.tag == f"{{{SPACE}}}svg"
    names = {element.tag.removeprefix(f"{{{SPACE}}}") for element in root.iter()}
    assert names <= DRAWN | {"title"}, names
    attributes = {name for element in root.iter() for name in element.attrib}
    assert not [name for name in attributes if name.startswith("on")]
    assert not re.search(r"(href|src)=\"(?!#)|url\((?!#)|light-dark", text.replace(SPACE, ""))
    for key in ("width", "height"):
        assert 100 < float(root.attrib[key]) < 3000
    return root


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    run = collect(FakeRun(tmp_path_factory.mktemp("run"), rounds=2, **SMALL).write())
    return Gallery(run).files()


def test_a_file_for_every_slot_and_each_shows_something(files: dict[str, str]) -> None:
    assert list(files) == [slot.key for slot in figure_slots(recipe())]
    assert len(files) == 24
    for key, text in files.items():
        root = checked(text)
        assert "nothing to show" not in text, key
        title = root.find(f"{{{SPACE}}}title")
        assert title is not None and title.text, key
        words = "".join(root.itertext())
        assert title.text in words and len(words) > 40, key


def test_every_kind_of_slot_can_be_drawn() -> None:
    several = {"phases": {"polish": {"update": {"kind": "sft", "steps": 3, "batch_size": 2,
                                                "optimizer": {"lr": 1e-3}}}}}  # fmt: skip
    slots = figure_slots(recipe(set=several))
    answers = figure_slots(recipe(recipe="lfqa-nlf", scale="test"))
    known = {slot.name for slot in (*slots, *answers)}
    assert known == {*DRAW, *DRAW_OF_RUN, "lineage"}
    assert len({slot.key for slot in answers}) == len(answers)
    assert len({slot.key for slot in slots}) == len(slots)
    assert {slot.name for slot in slots if slot.phase == "polish"} == {
        "main", "worst", "bad", "perplexity", "variety", "distance", "finished", "steps",
    }  # fmt: skip


def test_a_phase_of_ppo_shows_what_it_learns_from_and_how(tmp_path: Path) -> None:
    run = collect(FakeRun(tmp_path, rounds=1, reward=True, **SMALL).write())
    own = {slot: d for slot, d in Gallery(run).drawings.items() if slot.phase == "reward"}
    assert {slot.key for slot, drawing in own.items() if drawing is None} == set()
    assert {slot.name for slot in own} == {
        "main", "worst", "bad", "perplexity", "variety", "distance", "finished",
        "scores", "ends", "agreement", "steps",
    }  # fmt: skip
    assert {slot.of for slot in own if slot.name == "ends"} == {
        "answers.reward", "answers.kl", "entropy",
    }  # fmt: skip
    page = render(run, cautions(run))
    found = re.search(r'id="extremes-reward".*?</section>', page, re.DOTALL)
    assert found and found[0].count('class="score"') == 2 * 5
    assert "asked for" not in found[0] and "not in the pool" not in found[0]


def test_slots_follow_from_the_recipe_alone_and_name_plain_files() -> None:
    odd = {"scorers": {"extra": {"kind": "lexicon", "attribute": "a/../b c", "better": "low"}},
           "phases": {"align": {"score": ["toxicity", "extra"]}}}  # fmt: skip
    keys = [slot.key for slot in figure_slots(recipe(set=odd))]
    assert "align-edges-toxicity" in keys and "align-edges-a_.._b_c" in keys
    assert all(re.fullmatch(r"[\w.-]+", key) for key in keys)
    assert [slot.of for slot in figure_slots(recipe()) if slot.name == "edges"] == ["toxicity"]


def test_a_phase_that_stopped_at_once_says_why_its_figures_are_empty(tmp_path: Path) -> None:
    run = collect(FakeRun(tmp_path, rounds=3, stopped_at=1, **SMALL).write())
    files = Gallery(run).files()
    empty = [key for key, text in files.items() if "nothing to show" in text]
    assert {"align-tags", "align-pool", "align-agreement", "align-steps-loss"} <= set(empty)
    assert "align-main" not in empty
    for key in empty:
        words = " ".join("".join(checked(files[key]).itertext()).split())
        assert "ended early: round 0" in words


def test_hostile_tags_are_only_letters_in_the_files(tmp_path: Path) -> None:
    tags = [f"{text[:60]} {i}" for i, text in enumerate(HOSTILE[:5])]
    run = collect(FakeRun(tmp_path, rounds=1, tags=tags, **SMALL).write())
    files = Gallery(run).files()
    for text in files.values():
        checked(text)
    assert "&lt;script&gt;document" in files["align-tags"]


def test_equal_runs_draw_equal_files(tmp_path: Path) -> None:
    one, two = (
        Gallery(collect(FakeRun(tmp_path / name, rounds=1, **SMALL).write())).files()
        for name in ("one", "two")
    )
    assert one == two


def test_the_stage_writes_the_figures_that_it_is_asked_for(tmp_path: Path) -> None:
    FakeRun(tmp_path, rounds=1, **SMALL).write()
    wanted = [tmp_path / "figures" / name for name in ("align-main.svg", "lineage.svg")]
    options = [word for path in wanted for word in ("--figure", str(path))]
    done = subprocess.run(
        [*command(tmp_path), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert sorted((tmp_path / "figures").iterdir()) == wanted
    for path in wanted:
        checked(path.read_text(encoding="utf-8"))
        path.unlink()
    (tmp_path / "report.html").unlink()
    failed = subprocess.run(
        [*command(tmp_path), *options, "--figure", "align-mian.svg"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert failed.returncode == 2
    (line,) = failed.stderr.strip().splitlines()
    assert line.startswith("error: this recipe has no such figure (align-mian.svg): it has align-")
    assert not (tmp_path / "report.html").exists() and not list((tmp_path / "figures").iterdir())


# Light and dark


def luminance(color: str) -> float:
    """Relative luminance (WCAG 2.1)."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(("color", "least"), [(INK, 7.0), (MUTED, 4.5), (JUDGE, 4.5), (SCORER, 4.5),
                                              *((c, 3.0) for c in tag_colors(5))])  # fmt: skip
def test_what_can_be_read_on_white_can_be_read_on_black(color: str, least: float) -> None:
    assert contrast(on_dark(color), NEUTRAL_ON_DARK[CARD]) >= least


def test_a_themed_style_names_both_colours() -> None:
    assert themed("fill: #1d2733; stroke: none") == (
        "fill: light-dark(#1d2733, #e6eaee); stroke: none"
    )
    assert themed("clip-path: url(#align-pool-c0ffee12)") == "clip-path: url(#align-pool-c0ffee12)"


def test_the_page_has_both_themes_and_the_files_one(tmp_path: Path) -> None:
    gallery = Gallery(collect(FakeRun(tmp_path, rounds=1, **SMALL).write()))
    for drawing in gallery.drawings.values():
        if drawing is not None:
            assert "light-dark" in drawing.svg and "light-dark" not in drawing.plain
            bare = re.sub(r"light-dark\([^)]*\)", "", drawing.svg)
            assert not re.search(r'style="[^"]*#[0-9a-f]{6}\b', bare)
