"""What every test of saved sessions may use."""

import pytest

from llmdbg.debugger.persistence.store import SessionStore


@pytest.fixture
def store(tmp_path):
    return SessionStore(tmp_path / "sessions")
