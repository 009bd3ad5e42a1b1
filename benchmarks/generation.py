"""Whole generations, run as `llmdbg --batch` runs them, against an untouched `generate()`; memory; and `--help`."""

from __future__ import annotations

import json
import os
import resource
import statistics
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

AFTERWARDS = "`generate()` after whole forwards stepped line by line and op by op"
STEPPED = ("set depth line", "step 1500", "set depth op", "step 2000", "set depth module", "continue")
"""What a debugger is told before that row: in the demo model, more than a forward of each."""

MEMORY = "peak memory, a prompt of 40 times the demo prompt"
STARTS = {"`--help`": "--help", "`--version`": "--version"}

ROWS = {
    **dict.fromkeys(RUNS, "≤ 1.10"),
    "`-ex continue`: nothing armed": "≤ 1.02",
    "no command: a stop at every layer and every step of choosing, written": "",
    AFTERWARDS: "≤ 1.02",
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
    yield AFTERWARDS, afterwards(setup)
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


def afterwards(setup: Setup) -> Figure:
    """Seconds of `generate()` in processes that have stepped before, and in others that have not."""
    apart = partial(_in_a_process, setup, "seconds_of")
    ours, _, ratios = pairs(partial(apart, "llmdbg"), partial(apart, "generate"), setup.times(7))
    return Figure(Spread.of(ours), "s", {UNTOUCHED: Spread.of(ratios)})


def seconds_of(setup: Setup, side: str) -> float:
    """Run one side in a process of its own. Returns the median time of a generation, in seconds."""
    untouched(setup, PROMPT)
    if side == "llmdbg":
        with open(os.devnull, "w", encoding="utf-8") as out:  # noqa: PTH123
            batch(setup, STEPPED, TextWriter(out))
    return statistics.median(seconds(partial(untouched, setup, PROMPT)) for _ in range(setup.times(5)))


def memory(setup: Setup) -> Figure:
    """Peak memory of processes that run one side each."""

    def peak(side: str) -> float:
        return _in_a_process(setup, "peak_of", side) / 2**20

    ours, _, ratios = pairs(partial(peak, "llmdbg"), partial(peak, "generate"), setup.times(3))
    return Figure(Spread.of(ours), "MiB", {UNTOUCHED: Spread.of(ratios)})


def _in_a_process(setup: Setup, what: str, side: str) -> float:
    """What the function `what` of this module measures of one side, in a process of its own."""
    code = "import sys; from benchmarks.generation import measured_here; measured_here(*sys.argv[1:])"
    values = [setup.model, setup.device, setup.dtype, str(int(setup.random_weights)), str(int(setup.quick))]
    done = subprocess.run([sys.executable, "-c", code, what, side, *values], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def measured_here(what: str, side: str, model: str, device: str, dtype: str, random_weights: str, quick: str) -> None:
    """Write what the function `what` measures of one side in this process."""
    setup = Setup(model, device, dtype, random_weights == "1", quick == "1")
    print({"peak_of": peak_of, "seconds_of": seconds_of}[what](setup, side))


def peak_of(setup: Setup, side: str) -> int:
    """Run one side in a process of its own. Returns the most bytes that the process, or its GPU, has held."""
    text = PROMPT if setup.quick else PROMPT * 40
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    if side == "generate":
        untouched(setup, text)
    else:
        with open(os.devnull, "w", encoding="utf-8") as out:  # noqa: PTH123
            batch(setup, ("continue",), TextWriter(out), text)
    if setup.loaded.model.device.type == "cuda":
        return int(torch.cuda.max_memory_allocated())
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def start(option: str, count: int) -> Figure:
    """Seconds `llmdbg OPTION` takes, against a bare Python's start."""

    def process(*arguments: str) -> float:
        return seconds(partial(subprocess.run, [sys.executable, *arguments], capture_output=True, check=True))

    ours, _, ratios = pairs(partial(process, "-m", "llmdbg", option), partial(process, "-c", "pass"), count)
    return Figure(Spread.of(ours), "s", {"× `python -c pass`": Spread.of(ratios)})
