"""Cuts the prompt into its tokens in a process of its own while this one imports torch, which no tokenizer needs.

The process (`early_process.py`) runs the code that this one runs later, transformers' own tokenizer included, within
limits on time and memory. What it finds is shown until this process knows the tokens itself. It may find nothing: then
they come when they would have come anyway. It ends with this process, however that ends.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from llmdbg.debugger.execution.stop import TokenRow

if TYPE_CHECKING:
    from llmdbg.frontends.prompts.cutting import Cutting
    from llmdbg.models.spec import ModelSpec

PromptCallback = Callable[[tuple[TokenRow, ...], int], None]
"""Gets the prompt's first tokens, and how many there are."""

_PROGRAM = Path(__file__).with_name("early_process.py")
_MOST_BYTES = 16 * 2**20
_SECONDS_TO_END = 1.0
"""How long a start waits for the killed process to be gone: it yields to all others, and may take its time to go."""
_SECONDS_BETWEEN_LOOKS = 0.05
_ENVIRONMENT = {
    # What is not here yet is fetched by this process alone.
    "HF_HUB_OFFLINE": "1",
    # numpy starts as many threads as there are cores, and none is needed.
    "OPENBLAS_NUM_THREADS": "1",
}


class EarlyPrompt:
    """Enter it around whatever finds the prompt's tokens; `close` it once they are found.

    `found` gets what the process found, from a thread of its own, and is never called once `close` has returned.
    """

    def __init__(self, spec: ModelSpec, text: str, how: Cutting, found: PromptCallback | None) -> None:
        """Without `found`, and where it would gain nothing, nothing is started."""
        self._found = found if found is not None and _is_worth_it(spec) else None
        model = {"name": spec.name, "random_weights": spec.random_weights}
        self._job = {"path": [*filter(None, map(str, sys.path))], "model": model, "text": text, "how": how}
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Start the process."""
        if self._found is not None:
            with suppress(OSError):
                self._process = subprocess.Popen(
                    (sys.executable, "-P", str(_PROGRAM)),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    # Whatever it complains of, this process complains of again, into the log.
                    stderr=subprocess.DEVNULL,
                    # Its own group, to be ended with what it starts; but no session, since Linux may give each the
                    # same share of the processor, however nice.
                    process_group=0,
                    env={**os.environ, **_ENVIRONMENT},
                )
        if self._process is not None:
            threading.Thread(target=self._follow, args=(self._process,), name="llmdbg-early", daemon=True).start()
        return self

    def __exit__(self, *_problem: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process. What it has not found by now is not needed any more. Safe to call again.

        Returns soon, even if the process does not go at once.
        """
        with self._lock:
            self._found = None
            if self._process is not None:
                _end(self._process)

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        """Give the process its job, and pass on what it finds."""
        assert process.stdin is not None and process.stdout is not None
        written = b""
        # It may be ended at any time.
        with suppress(OSError, ValueError):
            process.stdin.write(json.dumps(self._job).encode() + b"\n")
            process.stdin.flush()
            written = process.stdout.read(_MOST_BYTES)
        rows = _rows(written)
        with self._lock:
            if rows is not None and self._found is not None:
                self._found(*rows)
            _end(process)
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):
                    pipe.close()
        while not self._is_gone(process):
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _is_gone(self, process: subprocess.Popen[bytes]) -> bool:
        # Once it is looked at it may be gone, and its number another's: nobody may be about to kill it.
        with self._lock:
            return process.poll() is not None


def _is_worth_it(spec: ModelSpec) -> bool:
    """Whether there is something to wait for, a core for it, and nothing but transformers' own code to run."""
    return "torch" not in sys.modules and not spec.trust_remote_code and _cores() > 1 and bool(sys.executable)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and those that it has started, and wait a moment until it is gone."""
    if process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_SECONDS_TO_END)


def _rows(written: bytes) -> tuple[tuple[TokenRow, ...], int] | None:
    """What the process wrote; None for anything else than tokens and their number."""
    if not written:
        return None
    import msgspec

    try:
        found: Any = msgspec.json.decode(written, type=tuple[tuple[TokenRow, ...], int])
    except msgspec.DecodeError:
        return None
    return found[0], found[1]
