"""Starts programs on several ranks of this machine, as `torchrun` does."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from transformers import PreTrainedTokenizerFast

from tests.sessions import tiny_tokenizer
from tests.tiny import tiny_model

SECONDS = 120
"""How long a run may take on a busy machine."""


def started(
    ranks: int, *program: str, stdin: int = subprocess.DEVNULL, options: Sequence[str] = ()
) -> subprocess.Popen[str]:
    """A program on so many ranks: `-m llmdbg …`, or a path and its arguments.

    `options` are more of torchrun's.
    """
    launcher = (sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={ranks}", *options)
    return subprocess.Popen(
        (*launcher, *program),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(ranks: int, *program: str, seconds: float = SECONDS) -> subprocess.CompletedProcess[str]:
    """The same, once it has ended."""
    with started(ranks, *program) as launcher:
        out, narration = launcher.communicate(timeout=seconds)
    return subprocess.CompletedProcess(program, launcher.returncode, out, narration)


def complaints(narration: str) -> list[str]:
    """What llmdbg complained of, whichever rank did."""
    return [line.removeprefix("llmdbg: ") for line in narration.splitlines() if line.startswith("llmdbg: ")]


def process_of(launcher: subprocess.Popen[str], rank: int) -> psutil.Process:
    """The process of a rank, once it runs."""
    return processes_of(launcher, rank + 1)[rank]


def processes_of(launcher: subprocess.Popen[str], ranks: int, *, first: int = 0) -> dict[int, psutil.Process]:
    """The processes of so many ranks from the first of its node on, once they run."""
    give_up = time.monotonic() + SECONDS
    while time.monotonic() < give_up:
        found = {rank: each for each in psutil.Process(launcher.pid).children() if (rank := _rank(each)) is not None}
        if set(range(first, first + ranks)) <= set(found):
            return found
        time.sleep(0.02)
    raise TimeoutError(f"{ranks} ranks did not start")


def _rank(process: psutil.Process) -> int | None:
    try:
        found = process.environ().get("RANK")
    except psutil.Error:
        return None
    return None if found is None else int(found)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def write_model(folder: Path, architecture: str, **changes: Any) -> Path:
    """A folder with a tiny model that four ranks can share, and its tokenizer. `changes` are of its configuration."""
    tokenizer: PreTrainedTokenizerFast = tiny_tokenizer()
    model = tiny_model(architecture, vocab_size=len(tokenizer), num_key_value_heads=4, **changes)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def lines_with(text: str, words: Sequence[str]) -> list[str]:
    """The lines that hold every one of some words."""
    return [line for line in text.splitlines() if all(word in line for word in words)]
