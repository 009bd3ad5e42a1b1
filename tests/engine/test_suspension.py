"""A function suspended in the middle of its calls."""

import subprocess
import sys

# A crash ends the process: it must not be this one.
FAILING = """
import torch
from llmdbg.errors import GenerationError
from tests.sessions import do, tiny_session

session = tiny_session(temperature=1.0)
with torch.no_grad():
    session.inspector.model.get_output_embeddings().weight[3] = torch.nan
try:
    do(session, "continue")
except GenerationError as error:
    print(error)
"""


def test_an_error_in_torch_s_own_code_does_not_crash_the_process():
    """Torch takes a backtrace, which must not come to the first frame of the greenlet."""
    done = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]
    assert "probability tensor contains" in done.stdout
