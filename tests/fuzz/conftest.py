"""A short run by default; `make fuzz` tries as many inputs a test as `LLMDBG_FUZZ` says, and others every time."""

import os
from datetime import timedelta

from hypothesis import HealthCheck, settings

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
