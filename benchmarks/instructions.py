"""The instructions of one stop, counted by callgrind: the figures of `stops` that no machine's speed changes.

A process of its own runs under valgrind, uncounted until it is ready, and takes a token at a time when it is told to.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Figure, Setup, Spread, say
from benchmarks.stops import CONDITION, ENGINE, NEXT, TURNS, Turns, Way
from benchmarks.tiny import toy

HOOK = "a bare pre-hook and hook"

ROWS = {HOOK: "", ENGINE: "", CONDITION: "", NEXT: ""}

INSTRUCTIONS, HOOKS = "instructions", "× a bare pre-hook and hook"
_WARM_UPS = 3


def measure(setup: Setup) -> Iterator[tuple[str, Figure]]:
    """Every row; without valgrind, or in a quick run, rows of no figures."""
    if setup.quick or shutil.which("callgrind_control") is None:
        if not setup.quick:
            say("  callgrind is not installed: no instructions are counted")
        yield from ((row, Figure(None)) for row in ROWS)
        return
    with tempfile.TemporaryDirectory() as scratch:
        counted = CountedProcess(Path(scratch))
        hook = None
        for what in TURNS:
            nothing, hooked, measured = (counted.spread(what, way) for way in Way)
            if hook is None:
                hook = [a - b for a, b in zip(hooked, nothing, strict=True)]
                yield HOOK, Figure(None, "", {INSTRUCTIONS: Spread.of(hook)})
            over = [a - b for a, b in zip(measured, hooked, strict=True)]
            ratios = [a / b for a, b in zip(over, hook, strict=True)]
            yield what, Figure(None, "", {INSTRUCTIONS: Spread.of(over), HOOKS: Spread.of(ratios)})
        counted.close()


class CountedProcess:
    """A process under callgrind, which counts only while it is told to."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._dumps = folder, 0
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/out"]
        self._process = subprocess.Popen(
            [*command, sys.executable, "-m", "benchmarks.instructions"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        say("  waiting for torch under valgrind: about a minute")
        self._hear()
        self._control("--instr=on")

    def spread(self, what: str, way: Way, count: int = 5) -> list[float]:
        """Instructions a stage of one turn, several times."""
        found = []
        for turn in range(_WARM_UPS + count):
            self._ask(what, way, "prepare")
            self._control("--zero")
            stages = self._ask(what, way, "go")
            if turn >= _WARM_UPS:
                found.append(self._dumped() / stages)
        return found

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=120)

    def _dumped(self) -> int:
        self._control("--dump")
        self._dumps += 1
        lines = (self._folder / f"out.{self._dumps}").read_text().splitlines()
        totals = next(line for line in lines if line.startswith("totals:"))
        return int(totals.split()[1])

    def _ask(self, what: str, way: Way, asked: str) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\t{way}\t{asked}\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process under valgrind ended with {self._process.wait()}")
        return int(line)

    def _control(self, option: str) -> None:
        subprocess.run(["callgrind_control", option, str(self._process.pid)], check=True, capture_output=True)


def serve() -> None:
    """Prepare or run the turn that stdin asks for; answer each with over how many stages it went."""
    turns: dict[str, Turns] = {}
    print(0, flush=True)
    for line in sys.stdin:
        what, way, asked = line.rstrip("\n").split("\t")
        if what not in turns:
            turns[what] = TURNS[what](toy())
        stages = 0
        if asked == "prepare":
            turns[what].prepare(Way(way))
        else:
            stages = turns[what].go(Way(way))
        print(stages, flush=True)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    serve()
