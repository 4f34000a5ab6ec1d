"""What every test may use: the corpora, tiny corpora, devices, and the settings of hypothesis."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("fastseq", deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fastseq")

ROOT = Path(__file__).resolve().parent.parent
SIMULATED = os.environ.get("NUMBA_ENABLE_CUDASIM", "0") not in ("", "0")


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of real corpora: ``FASTSEQ_DATA``, or ``../shared/data`` beside the checkout."""
    place = Path(os.environ.get("FASTSEQ_DATA", ROOT.parent / "shared" / "data"))
    if not place.is_dir():
        pytest.skip(f"no corpora at {place}; set FASTSEQ_DATA to the folder that holds them")
    return place


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(20240607)


@pytest.fixture
def book_text() -> str:
    """The nine-word corpus of the book."""
    return "you say goodbye and i say hello ."
