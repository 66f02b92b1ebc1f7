"""What all tests share: no network, no timed property tests, the goldens' place."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from structlog.testing import capture_logs

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# A property is true or false, however busy the machine is.
settings.register_profile("rondo", deadline=None, max_examples=60)
settings.load_profile("rondo")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with goldens and real data, which stands outside the repository."""
    place = os.environ.get("RONDO_SHARED")
    if not place:
        pytest.skip("RONDO_SHARED is not set: goldens and real data are not here")
    return Path(place)


@pytest.fixture(autouse=True)
def nothing_runs_on() -> Iterator[None]:
    """Whatever a test has launched ends with it."""
    yield
    if "launched" in sys.modules:
        sys.modules["launched"].end_all()


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file grows beyond 8 KB while the test runs: writers meet it as they meet a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8_192, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """The events that this process logs while the test runs."""
    with capture_logs() as entries:
        yield entries
