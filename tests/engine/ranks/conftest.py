"""A model that ranks can share."""

from pathlib import Path

import pytest

from tests.torchrun import write_model


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama with four key/value heads, which no test may change."""
    return write_model(tmp_path_factory.mktemp("shared") / "llama", "llama")
