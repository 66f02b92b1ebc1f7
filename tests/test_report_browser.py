"""The report in a real browser: it can be seen, it fits a phone, and nothing in it acts."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from fake_run import FakeRun
from PIL import Image
from test_report_page import HOSTILE

from stages.reporting.cautions import cautions
from stages.reporting.collect import collect
from stages.reporting.page import render

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on the PATH"),
]
PHONE = 390


def browse(tmp_path: Path, page: Path, *options: str) -> str:
    """Open a page without a screen and give what the browser prints."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--disable-background-networking", "--no-first-run", "--hide-scrollbars",
        f"--user-data-dir={tmp_path / 'profile'}", *options, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def report(folder: Path, **options: object) -> Path:
    """The report of a made-up run."""
    run = collect(FakeRun(folder, prompts=24, answers=2, **options).write())  # type: ignore[arg-type]
    path = folder / "report.html"
    path.write_text(render(run, cautions(run)), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(tmp_path_factory.mktemp("harmless"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tags = [f"{text[:60]} {i}" for i, text in enumerate(HOSTILE[:5])]
    folder = tmp_path_factory.mktemp("hostile")
    return report(folder, texts=HOSTILE, prompt_texts=HOSTILE, tags=tags)


def test_the_picture_is_not_blank(harmless: Path, tmp_path: Path) -> None:
    picture = tmp_path / "report.png"
    browse(tmp_path, harmless, f"--screenshot={picture}", "--window-size=1280,4000")
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape == (4000, 1280, 3)
    colors, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    assert len(colors) > 500
    assert counts.max() / counts.sum() < 0.9
    for band in np.array_split(pixels, 8):  # something stands in every part of the page
        assert len(np.unique(band.reshape(-1, 3), axis=0)) > 30


def test_the_picture_follows_the_readers_theme(harmless: Path, tmp_path: Path) -> None:
    brightness = {}
    for theme, number in (("dark", 0), ("light", 1)):
        picture = tmp_path / f"{theme}.png"
        browse(tmp_path, harmless, f"--screenshot={picture}", "--window-size=1280,2400",
               f"--blink-settings=preferredColorScheme={number}")  # fmt: skip
        with Image.open(picture) as image:
            pixels = np.asarray(image.convert("L"))
        brightness[theme] = float(pixels.mean())
        ground = float(np.median(pixels))
        strong = (np.abs(pixels - ground) > 110).mean()  # words and lines stand out on it
        assert strong > 0.005, theme
    assert brightness["dark"] < 70 and brightness["light"] > 200


def test_the_title_is_the_runs(harmless: Path, tmp_path: Path) -> None:
    dom = browse(tmp_path, harmless, "--dump-dom")
    assert re.search(r"<title>(.*?)</title>", dom)[1] == "toxicity-nlf-tiny-s1 · Rondo"  # type: ignore[index]
    assert dom.count("<svg") >= 15


def test_hostile_text_does_nothing_in_a_browser(hostile: Path, tmp_path: Path) -> None:
    dom = browse(tmp_path, hostile, "--dump-dom")
    assert re.search(r"<title>(.*?)</title>", dom)[1] == "toxicity-nlf-tiny-s1 · Rondo"  # type: ignore[index]
    for element in ("script", "img", "iframe", 'a href="javascript'):
        assert f"<{element}" not in dom, element


@pytest.mark.parametrize("kind", ["harmless", "hostile"])
def test_a_phone_needs_no_sideways_scrolling(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    page: Path = request.getfixturevalue(kind)
    frame = tmp_path / "frame.html"
    frame.write_text(
        f'<iframe src="{page.as_uri()}" style="border:0;width:{PHONE}px;height:3000px"></iframe>'
        "<script>onload=()=>{const page=document.querySelector('iframe').contentDocument;"
        "document.title=[page.documentElement.scrollWidth,page.body.scrollHeight].join(' ')}"
        "</script>"
    )
    dom = browse(tmp_path, frame, "--allow-file-access-from-files", "--dump-dom")
    width, height = map(int, re.search(r"<title>(\d+) (\d+)</title>", dom).groups())  # type: ignore[union-attr]
    assert width == PHONE
    assert 3000 < height < 60_000
