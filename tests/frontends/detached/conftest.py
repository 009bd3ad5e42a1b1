"""A folder of engines of the test's own, in which nothing may be left."""

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.frontends.detached.engines import Engines


@pytest.fixture
def engines():
    # Not pytest's folder: the name of a socket must be short.
    parent = Path(tempfile.mkdtemp(prefix="llmdbg-e-"))
    found = Engines(parent / "engines", {"HF_HUB_OFFLINE": "1"})
    yield found
    found.close()
    shutil.rmtree(parent)
