"""Programs with transforms of torch.func: whatever is armed, they give what they give without llmdbg."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "programs" / "transformed.py"
PROBES = ("break nonfinite", "trace * norm", "trace *.grad norm", "continue")
OPERATIONS = ("set depth op", "step 3", "continue")


@pytest.mark.parametrize(
    ("kind", "commands"),
    [("vmap", PROBES), ("batched", PROBES), ("jacrev", OPERATIONS)],
)
def test_a_transform_gives_what_it_gives_by_itself(tmp_path, kind, commands):
    alone = subprocess.run([sys.executable, PROGRAM, kind], capture_output=True, text=True, check=True)
    given = [part for each in commands for part in ("-ex", each)]
    output = tmp_path / "output"
    debugged = subprocess.run(
        [sys.executable, "-m", "llmdbg", "run", "--batch", "--program-output", output, *given, PROGRAM, kind],
        capture_output=True,
        text=True,
        check=False,
    )
    assert debugged.returncode == 0, debugged.stderr
    assert output.read_text() == alone.stdout
    assert debugged.stderr.count("values are not known") == 1
