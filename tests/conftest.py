"""Fixtures every test may use."""

import os

# Set before transformers is first imported: a test never waits for a network.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
import transformers


@pytest.fixture(autouse=True, scope="session")
def _quiet_transformers():
    """Progress bars and advice on stderr are for people."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    # Two test processes on two cores: more threads would only fight.
    torch.set_num_threads(1)


@pytest.fixture
def cuda() -> torch.device:
    """A CUDA device, or a skip that says there is none."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return torch.device("cuda")
