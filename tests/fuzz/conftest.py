"""A short run by default; `make fuzz` tries as many inputs a test as `LLMDBG_FUZZ` says, and others every time.

`LLMDBG_FIGURES` names a file that gets a line a test: calls, the slowest in seconds, the process's peak in MiB.
"""

import json
import os
import resource
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.fuzz.watch import TALLY

_EXAMPLES = int(os.environ.get("LLMDBG_FUZZ", "60"))

settings.register_profile(
    "fuzz",
    max_examples=_EXAMPLES,
    derandomize="LLMDBG_FUZZ" not in os.environ,
    database=None,
    deadline=timedelta(seconds=20),
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("fuzz")


@pytest.fixture(autouse=True)
def _counted(request: pytest.FixtureRequest) -> Iterator[None]:
    TALLY.calls, TALLY.longest = 0, 0.0
    yield
    if figures := os.environ.get("LLMDBG_FIGURES"):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        line = {"test": request.node.name, "calls": TALLY.calls, "longest": round(TALLY.longest, 3), "peak": peak}
        with Path(figures).open("a") as file:
            file.write(json.dumps(line) + "\n")
