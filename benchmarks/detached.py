"""What an engine of its own costs: a step with and without `--detachable`, and taking one up again.

    python -m benchmarks.detached [MODEL [STEPS]]

The two programs take the same steps in turns, in ptys of 120×40; a step ends with the last byte that it changes.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.screen import fresh_environment, press, python, ready
from tests.terminal import Terminal

SIZE = (120, 40)
_ATTACHES = 9


def main(model: str = "smollm2", count: str = "60") -> None:
    """Measure, and print three lines."""
    with fresh_environment() as fresh, tempfile.TemporaryDirectory(prefix="llmdbg-b-") as folder:
        environment = {**fresh, "LLMDBG_ENGINES": str(Path(folder) / "engines")}
        command = python("llmdbg", environment)
        asked = (model, "-p", "The quick brown fox", "--greedy", "-n", "200")
        plain = Terminal(*command, *asked, size=SIZE, environment=environment)
        ready(plain)
        detachable = Terminal(*command, *asked, "--detachable", size=SIZE, environment=environment)
        try:
            ready(detachable)
            pairs = [(press(plain, "n"), press(detachable, "n")) for _ in range(int(count))]
            beyond = [ours[0] - theirs[0] for theirs, ours in pairs]
            before, after = ([each[side] for each in pairs] for side in (0, 1))
            beyond = [ours[0] - theirs[0] for theirs, ours in pairs]
            print(f"a step: {_spread([each[0] for each in before])} ms; detachable, ms more: {_spread(beyond)}")
            sizes = (_spread([float(each[1]) for each in side]) for side in (before, after))
            print("bytes: {}; detachable: {}".format(*sizes))
            again = _attaches(detachable, command, environment)
            print(f"seconds from the start of `llmdbg attach` to the whole screen: {_spread(again)}")
        finally:
            for each in (plain, detachable):
                each.close()
            ending = Terminal(*command, "attach", "--end", environment=environment)
            ending.wait_for_exit()
            ending.close()


def _attaches(first: Terminal, command: tuple[str, ...], environment: dict[str, str | None]) -> list[float]:
    """Seconds until a killed screen's engine is whole on another terminal."""
    times, seen = [], first
    for _ in range(_ATTACHES):
        seen.process.kill()
        seen.process.wait()
        begun = time.perf_counter()
        seen = Terminal(*command, "attach", size=SIZE, environment=environment)
        seen.drawing = False
        seen.wait_for_bytes(b"quit")
        seen.read(0.2)
        times.append(seen.last_byte - begun)
    seen.close()
    return times


def _spread(values: list[float]) -> str:
    """The median, and the tenths at both ends."""
    tenths = statistics.quantiles(values, n=10)
    return f"{statistics.median(values):.3g} ({tenths[0]:.3g} to {tenths[-1]:.3g})"


if __name__ == "__main__":
    main(*sys.argv[1:3])
