"""Two checkouts against each other, by what both have on the outside: the command line, the screen, `open_session`.

    python -m benchmarks.compare BEFORE AFTER [--only NAME]… [--quick]

Each side runs in processes of its own, with this Python and the side's own modules, and takes turns with the other.
Prints one line a measurement: before, after, and the median of the ratios after / before with their quartiles.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from benchmarks.harness import PROMPT, Setup, Spread, pairs
from benchmarks.screen import (
    KEYS,
    MIDDLE,
    PHASES,
    STOP_THERE,
    TOKENS_THERE,
    Size,
    command,
    first_frame_seconds,
    fresh_environment,
    lines_before,
    press,
    ready,
    started,
    step_row,
)
from tests.sessions import write_tiny_folder
from tests.terminal import Terminal

TOKENS = 48
_SIZES: tuple[Size, ...] = ((80, 24), MIDDLE)

Compared = tuple[str, str, Sequence[float], Sequence[float], Sequence[float]]
"""What was measured and in which unit, before, after, and the ratios after / before."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare what was asked for."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    options.add_argument("before", type=Path)
    options.add_argument("after", type=Path)
    options.add_argument("--model", default="smollm2")
    options.add_argument("--only", choices=sorted(COMPARISONS), action="append")
    options.add_argument("--quick", action="store_true", help="a smoke run: one pair of each")
    chosen = options.parse_args(arguments)
    setup = Setup(chosen.model, quick=chosen.quick)
    for name, compare in COMPARISONS.items():
        if chosen.only is None or name in chosen.only:
            for what, unit, before, after, ratios in compare(chosen.before.resolve(), chosen.after.resolve(), setup):
                a, b, ratio = Spread.of(before), Spread.of(after), Spread.of(ratios)
                print(
                    f"{what:54} {a.median:9.4g} → {b.median:9.4g} {unit:5}"
                    f" {ratio.median:6.3f} ({ratio.first:.3f} … {ratio.third:.3f})",
                    flush=True,
                )


def program(before: Path, after: Path, setup: Setup) -> Iterator[Compared]:
    """`open_session` and `do`: whole runs, stops, conditions, and going back."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        tiny = str(write_tiny_folder(Path(scratch) / "tiny", context=2_000))
        old, new = (stack.enter_context(Worker(checkout)) for checkout in (before, after))
        for what, model, lines, count in (
            ("nothing armed", setup.model, ["delete"], 11),
            ("nothing armed, tiny model", tiny, ["delete"], 21),
            ("a condition on every layer", setup.model, ["delete", "break * if norm > 1e9"], 11),
            ("a condition on every layer, tiny model", tiny, ["delete", "break * if norm > 1e9"], 21),
            ("a stop at every layer", setup.model, ["delete", "break *"], 11),
            ("a stop at every layer, tiny model", tiny, ["delete", "break *"], 21),
        ):
            sides = [partial(worker.seconds, model, lines) for worker in (new, old)]
            yield _compared(f"{what}, {TOKENS} tokens", "s", sides, setup.times(count))
        place = "goto 1@8" if setup.quick else "goto 15@8"
        sides = [partial(worker.seconds, setup.model, ["delete", place], "reverse-step") for worker in (new, old)]
        yield _compared("reverse-step", "s", sides, setup.times(21))


def first_frame(before: Path, after: Path, setup: Setup) -> Iterator[Compared]:
    """From the start of the program to its first frame."""
    with _environment(after) as new, _environment(before) as old:
        sides = [partial(first_frame_seconds, _command(setup), environment) for environment in (new, old)]
        yield _compared("first frame", "s", sides, setup.times(11))


def start(before: Path, after: Path, setup: Setup) -> Iterator[Compared]:
    """From the start of the program to the prompt's tokens, and to the first stop."""
    with _environment(after) as new, _environment(before) as old:
        for what, words in (("the prompt's tokens", TOKENS_THERE), ("first stop", STOP_THERE)):
            sides = [
                partial(first_frame_seconds, _command(setup), environment, words=words) for environment in (new, old)
            ]
            yield _compared(what, "s", sides, setup.times(11))


def steps(before: Path, after: Path, setup: Setup) -> Iterator[Compared]:
    """Latency and bytes of a step on the screen."""
    for size in _SIZES:
        with ExitStack() as stack:
            new, old = (
                stack.enter_context(started(_command(setup), size, stack.enter_context(_environment(checkout))))
                for checkout in (after, before)
            )
            for seen in (new, old):
                ready(seen)
            for phase in PHASES:
                for key in KEYS:
                    taken = {seen: Steps(seen, key, phase) for seen in (new, old)}
                    name = step_row(key, size, phase)
                    yield _compared(name, "ms", [taken[new].milliseconds, taken[old].milliseconds], setup.times(40))
                    sizes = taken[old].sizes, taken[new].sizes
                    yield name, "bytes", *sizes, [b / a for a, b in zip(*sizes, strict=True)]


class Steps:
    """Steps of one program, one after the other."""

    def __init__(self, seen: Terminal, key: str, phase: str) -> None:
        self._seen, self._key, self._phase = seen, key, phase
        self.sizes: list[float] = []

    def milliseconds(self) -> float:
        """The latency of the next one."""
        for line in lines_before(len(self.sizes), self._phase):
            command(self._seen, line)
        milliseconds, size = press(self._seen, self._key)
        self.sizes.append(size)
        return milliseconds


class Worker:
    """A program of a checkout's own, which holds its sessions open and measures when it is told to."""

    def __init__(self, checkout: Path) -> None:
        self._held = ExitStack()
        environment = {**os.environ, **self._held.enter_context(_environment(checkout))}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _WORKER, str(checkout), PROMPT, str(TOKENS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in environment.items() if value is not None},
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=60)
        self._held.close()

    def seconds(self, model: str, prepare: list[str], measured: str = "run") -> float:
        """Seconds of one command after others; `run` goes on to the end of the generation."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([model, prepare, measured]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the program ended with {self._process.wait()}")
        return float(answer)


_WORKER = """
import json, os, sys, time
import llmdbg
checkout, prompt, tokens = sys.argv[1:]
assert os.path.realpath(llmdbg.__file__).startswith(os.path.realpath(checkout)), llmdbg.__file__
sessions = {}
for line in sys.stdin:
    model, prepare, measured = json.loads(line)
    if model not in sessions:
        sessions[model] = llmdbg.open_session(model, prompt, chat=True, max_new_tokens=int(tokens), greedy=True)
        sessions[model].do("continue")
    session = sessions[model]
    for each in prepare:
        session.do(each)
    started = time.perf_counter()
    session.do(measured)
    while measured == "run" and session.end is None:
        session.do("continue")
    print(time.perf_counter() - started, flush=True)
"""


@contextmanager
def _environment(checkout: Path) -> Iterator[dict[str, str | None]]:
    """What one side runs with: its own modules, and a state folder where it finds no session of the other's."""
    with fresh_environment() as environment:
        yield {**environment, "PYTHONPATH": str(checkout)}


def _compared(what: str, unit: str, new_and_old: Sequence[Callable[[], float]], count: int) -> Compared:
    new, old = new_and_old
    after, before, ratios = pairs(new, old, count)
    return what, unit, before, after, ratios


def _command(setup: Setup) -> tuple[str, ...]:
    return (setup.model, "--greedy", "--chat", "-p", PROMPT, "-n", str(TOKENS))


COMPARISONS = {"first_frame": first_frame, "start": start, "steps": steps, "program": program}

if __name__ == "__main__":
    main()
