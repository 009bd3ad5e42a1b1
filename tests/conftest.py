"""Fixtures every test may use."""

import logging
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

# Set before transformers is first imported: a test never waits for a network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Nor does it see what the person at this machine keeps, or leave anything there.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="llmdbg-tests-")
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="llmdbg-tests-")

import pytest
import torch
import transformers

from llmdbg.frontends.log import LogBook, LogFile
from llmdbg.models.loading import load
from llmdbg.models.spec import LoadedModel, ModelSpec
from tests.sessions import write_tiny_folder


@pytest.fixture(autouse=True, scope="session")
def _signals_as_at_a_login():
    """Programs started here are hung up on, which `nohup` around the tests would make them ignore."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True, scope="session")
def _quiet_transformers():
    """Progress bars and advice on stderr are for people."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    # Two test processes on two cores: more threads would only fight.
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_sessions_of_other_tests(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory):
    """A session that one test leaves behind is offered to nobody else."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))


@pytest.fixture(autouse=True)
def _logging_as_it_was():
    """A test that starts the program routes what is logged; the next one must find it as it was."""
    yield
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, (LogBook, LogFile))]:
        root.removeHandler(handler)
        handler.close()
    logging.captureWarnings(False)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole model folder that no test may change."""
    return write_tiny_folder(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def smollm2() -> LoadedModel:
    """The demo model. A module's own, so that its memory is free again for the next."""
    return load(ModelSpec("smollm2"))


@pytest.fixture
def a_copy(tiny_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes copies of the model folder to damage."""

    def copied(name: str = "copy") -> Path:
        return Path(shutil.copytree(tiny_folder, tmp_path / name))

    return copied


@pytest.fixture
def cuda() -> torch.device:
    """A CUDA device, or a skip that says there is none."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return torch.device("cuda")
