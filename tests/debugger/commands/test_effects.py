"""What a command may do with its arguments, by which commands written by others are judged."""

from __future__ import annotations

import pytest

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.commands.effect import Effect


@pytest.mark.parametrize(
    ("line", "runs"),
    [
        ("reference smollm2 --dtype bfloat16", False),
        ("reference off", False),
        ("reference smollm2 --python /bin/sh", True),
        ("reference smollm2 --python=/bin/sh", True),
        ('reference smollm2 --py"thon" /bin/sh', True),
        ("reference 'smollm2 --python /bin/sh", True),
        ("reference smollm2 --trust-remote-code", True),
        ("graft 1 from 'smollm2 --dtype bfloat16'", False),
        ("graft 1 from 'smollm2 --python /bin/sh'", True),
        ("graft 1 from main", False),
    ],
)
def test_another_python_is_code_that_runs(line: str, runs: bool) -> None:
    """However it is quoted; so is the code of a model."""
    assert bool(COMMANDS.parse(line).effect & Effect.RUNS_PYTHON) == runs
