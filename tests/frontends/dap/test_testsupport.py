"""A whole session by a client of another maker: the test adapter of VS Code's own debug adapters, on node."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.frontends.dap.test_session import DOWN, FILE

pytestmark = [pytest.mark.untraced, pytest.mark.slow]
FOLDER = "LLMDBG_NODE_MODULES"
"""The environment variable that names a folder in which `npm install @vscode/debugadapter-testsupport` has run."""
PACKAGE = "@vscode/debugadapter-testsupport"


def test_a_whole_session(tiny_folder, tmp_path):
    modules = Path(os.environ.get(FOLDER, "node_modules"))
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (modules / PACKAGE).exists():
        pytest.skip(f"{PACKAGE} is not installed: npm install it into a folder, and set {FOLDER} to its node_modules")
    script = tmp_path / "script.py"
    script.write_text(
        "import torch\nprint('hello from the program', flush=True)\ntorch.nn.Linear(2, 2)(torch.ones(1, 2))\n"
    )
    done = subprocess.run(
        ["node", Path(__file__).with_name("session.js"), sys.executable, tiny_folder, FILE, str(DOWN), script],
        env={**os.environ, "NODE_PATH": str(modules.absolute())},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
