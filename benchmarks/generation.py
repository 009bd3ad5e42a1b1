"""Whole generations, run as `llmdbg --batch` runs them, against an untouched `generate()`; memory; and `--help`."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.harness import PROMPT, Figure, Setup, Spread, pairs, rounds, seconds
from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends.batch.checks import parse_commands
from llmdbg.frontends.batch.run import TextWriter, run_batch

TOKENS = 32

UNTOUCHED = "× untouched `generate()`"

RUNS: dict[str, tuple[str, ...]] = {
    "`-ex continue`: nothing armed": ("continue",),
    "`-ex 'break *.mlp if norm > 1e9'`": ("break *.mlp if norm > 1e9", "continue"),
    "`-ex 'break * if norm > 1e9'`": ("break * if norm > 1e9", "continue"),
    "`-ex 'break * if nan or inf'`": ("break * if nan or inf", "continue"),
    "`-ex 'break * if norm > 1e9 and layer >= 15'`": ("break * if norm > 1e9 and layer >= 15", "continue"),
    "`-ex 'trace * norm'`: every layer's statistics written": ("trace * norm", "continue"),
    "no command: a stop at every layer and every step of choosing, written": (),
}
"""What `--batch` is told, by row."""

MEMORY = "peak memory, a prompt of 40 times the demo prompt"
STARTS = {"`--help`": "--help", "`--version`": "--version"}

ROWS = {
    **dict.fromkeys(RUNS, "≤ 1.10"),
    "`-ex continue`: nothing armed": "≤ 1.02",
    "no command: a stop at every layer and every step of choosing, written": "",
    MEMORY: "≤ 1.02",
    **dict.fromkeys(STARTS, "≤ 0.15 s"),
}


def measure(setup: Setup) -> Iterator[tuple[str, Figure]]:
    """Every row."""
    reference = partial(seconds, partial(untouched, setup, PROMPT))
    with open(os.devnull, "w", encoding="utf-8") as out:  # noqa: PTH123
        sides = {row: partial(seconds, partial(batch, setup, lines, TextWriter(out))) for row, lines in RUNS.items()}
        for warm_up in (reference, *sides.values()):
            warm_up()
        for row, (times, ratios) in rounds(sides, reference, setup.times(7)).items():
            yield row, Figure(Spread.of(times), "s", {UNTOUCHED: Spread.of(ratios)})
    yield MEMORY, memory(setup)
    for row, option in STARTS.items():
        yield row, start(option, setup.times(9))


def batch(setup: Setup, lines: tuple[str, ...], writer: TextWriter, text: str = PROMPT) -> None:
    """What `llmdbg --batch` does once the model is loaded."""
    run_batch(setup.debugger(TOKENS, text), parse_commands(lines), writer)


def untouched(setup: Setup, text: str) -> None:
    """`generate()` by itself."""
    ids = torch.tensor([setup.prompt(text).ids], device=setup.loaded.model.device)
    arguments = GenerationSettings(TOKENS, greedy=True).generate_arguments()
    setup.loaded.model.generate(ids, attention_mask=torch.ones_like(ids), **arguments)


def memory(setup: Setup) -> Figure:
    """Peak memory of processes that run one side each."""

    def peak(side: str) -> float:
        code = "import sys; from benchmarks.generation import peak_of; peak_of(*sys.argv[1:])"
        values = [setup.model, setup.device, setup.dtype, str(int(setup.random_weights)), str(int(setup.quick)), side]
        done = subprocess.run([sys.executable, "-c", code, *values], capture_output=True, text=True, check=True)
        return float(json.loads(done.stdout)) / 2**20

    ours, _, ratios = pairs(partial(peak, "llmdbg"), partial(peak, "generate"), setup.times(3))
    return Figure(Spread.of(ours), "MiB", {UNTOUCHED: Spread.of(ratios)})


def peak_of(model: str, device: str, dtype: str, random_weights: str, quick: str, side: str) -> None:
    """Run one side in a process of its own; write the most bytes that the process, or its GPU, has held."""
    setup = Setup(model, device, dtype, random_weights == "1", quick == "1")
    text = PROMPT if setup.quick else PROMPT * 40
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    if side == "generate":
        untouched(setup, text)
    else:
        with open(os.devnull, "w", encoding="utf-8") as out:  # noqa: PTH123
            batch(setup, ("continue",), TextWriter(out), text)
    if setup.loaded.model.device.type == "cuda":
        print(torch.cuda.max_memory_allocated())
    else:
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def start(option: str, count: int) -> Figure:
    """Seconds `llmdbg OPTION` takes, against a bare Python's start."""

    def process(*arguments: str) -> float:
        return seconds(partial(subprocess.run, [sys.executable, *arguments], capture_output=True, check=True))

    ours, _, ratios = pairs(partial(process, "-m", "llmdbg", option), partial(process, "-c", "pass"), count)
    return Figure(Spread.of(ours), "s", {"× `python -c pass`": Spread.of(ratios)})
