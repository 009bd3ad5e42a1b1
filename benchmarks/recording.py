"""What a recording costs: time against an untouched `generate()`, bytes a token, memory, and opening a long one."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.generation import UNTOUCHED, untouched
from benchmarks.harness import PROMPT, Figure, Setup, Spread, rounds, seconds
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.traces.reader import Trace
from llmdbg.traces.recording import RunRecording

TOKENS = 32
LONG = 10_000

STAGES = "every stage: statistics, hashes, sketches"
SIZE = "bytes of a decoded token"
OPENING = "opening a recording of 10,000 tokens, and reading its last"
MEMORY = "peak memory of recording 2,000 tokens, against 200"

ROWS = {STAGES: "≤ 1.15", SIZE: "≤ 60 kB at 30 layers", OPENING: "≤ 1 s", MEMORY: "≤ 1.05"}


def measure(setup: Setup) -> Iterator[tuple[str, Figure]]:
    """Every row."""
    with tempfile.TemporaryDirectory() as folder:
        reference = partial(seconds, partial(untouched, setup, PROMPT))
        sides = {STAGES: partial(_recorded, setup, Path(folder))}
        for warm_up in (reference, *sides.values()):
            warm_up()
        for row, (times, ratios) in rounds(sides, reference, setup.times(7)).items():
            yield row, Figure(Spread.of(times), "s", {UNTOUCHED: Spread.of(ratios)})
        yield SIZE, Figure(None, beside={"bytes": Spread.of([_bytes_of_a_token(setup, Path(folder))])})
    yield OPENING, _opening(setup)
    yield MEMORY, _memory(setup)


def record(generation: Generation, folder: Path) -> float:
    """Record a whole generation. Returns the seconds from the first stage to the end of the recording."""
    events = generation.events()
    first = next(events)
    recording = RunRecording(generation, folder)
    generation.stops.arm(recording.addresses, recording.handler)

    def run() -> None:
        recording.passed(first)
        for _ in events:
            pass
        recording.close()

    return seconds(run)


def _generation(setup: Setup, tokens: int) -> Generation:
    return Generation(setup.loaded, setup.prompt(PROMPT), GenerationSettings(tokens, greedy=True))


def _recorded(setup: Setup, folder: Path) -> float:
    return record(_generation(setup, TOKENS), Path(tempfile.mkdtemp(dir=folder)))


def _bytes_of_a_token(setup: Setup, folder: Path) -> float:
    """The difference of two recordings, so that the prompt does not count."""
    sizes = []
    for tokens in (2, 2 + TOKENS):
        run = Path(tempfile.mkdtemp(dir=folder))
        record(_generation(setup, tokens), run)
        sizes.append(sum(each.stat().st_size for each in run.iterdir() if each.name != "trace.json"))
    return (sizes[1] - sizes[0]) / TOKENS


_LONG_PROGRAM = """
import re, sys
from pathlib import Path
from benchmarks.recording import record
from tests.recordings import tiny_generation
generation = tiny_generation(greedy=True, max_new_tokens=int(sys.argv[2]))
generation.loaded.model.config.max_position_embeddings = 1 << 20
record(type(generation)(generation.loaded, generation.prompt, generation.settings), Path(sys.argv[1]))
print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


def _long(folder: Path, tokens: int) -> int:
    """Record a tiny model for so many tokens, in a process of its own. Returns its peak memory in kB."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    program = [sys.executable, "-c", _LONG_PROGRAM, str(folder), str(tokens)]
    # Not `ru_maxrss`, which begins with what the process that starts another one holds.
    return int(subprocess.run(program, check=True, stdout=subprocess.PIPE, env=environment).stdout)


def _opening(setup: Setup) -> Figure:
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        _long(run, 50 if setup.quick else LONG)

        def look() -> None:
            trace = Trace.open(run)
            assert trace.stages(len(trace.tokens) - 1)

        return Figure(Spread.of([seconds(look) for _ in range(setup.times(5))]), "s")


def _memory(setup: Setup) -> Figure:
    short, long = (5, 10) if setup.quick else (200, 2000)
    with tempfile.TemporaryDirectory() as folder:
        peaks = [_long(Path(folder) / str(tokens), tokens) for tokens in (short, long)]
    return Figure(Spread.of([peaks[1] / 1024]), "MB", {"× a tenth of the tokens": Spread.of([peaks[1] / peaks[0]])})
