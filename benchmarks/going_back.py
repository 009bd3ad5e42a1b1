"""What going back costs, in time and in memory."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import partial

from benchmarks.harness import Figure, Setup, Spread, do, milliseconds, pairs

STEP, JUMP, FORWARD_BYTES, BACK_BYTES = (
    "`reverse-step`, at ten depths",
    "`goto` 500 tokens back",
    "bytes kept a token, having gone forward only",
    "bytes kept a token, having gone back and forth",
)

ROWS = {STEP: "≤ 1.3 ×", JUMP: "≤ 2 ×", FORWARD_BYTES: "≤ 1 MB", BACK_BYTES: "≤ 1 MB"}

FORWARD, DECODE, BYTES = "× one forward of that token", "× one `token`", "bytes"


def measure(setup: Setup) -> Iterator[tuple[str, Figure]]:
    """Every row."""
    back = 12 if setup.quick else 500
    debugger = setup.debugger(back + 20)
    do(debugger, f"token {back + 10}")
    here = debugger.stop.token
    times, ratios = [], []
    layers = len(debugger.debuggee.anatomy.layers())
    for layer in range(1, layers, max(1, layers // 10)):
        do(debugger, f"goto {layer}@{here}")
        forward = statistics.median(
            milliseconds(partial(do, debugger, f"goto sample@{here}")) for _ in range(setup.times(3))
        )
        do(debugger, f"goto {layer}@{here}")
        times.append(milliseconds(partial(do, debugger, "reverse-step")))
        ratios.append(times[-1] / forward)
    yield STEP, Figure(Spread.of(times), "ms", {FORWARD: Spread.of(ratios)})

    def jump() -> float:
        do(debugger, f"goto sample@{here}")
        return milliseconds(partial(do, debugger, f"goto sample@{here - back}"))

    def decode() -> float:
        do(debugger, f"goto sample@{here - back}")
        return milliseconds(partial(do, debugger, "token"))

    jumps, _, ratios = pairs(jump, decode, setup.times(7))
    debugger.close()
    yield JUMP, Figure(Spread.of(jumps), "ms", {DECODE: Spread.of(ratios)})
    forward_bytes, back_bytes = memory(setup)
    yield FORWARD_BYTES, Figure(None, "", {BYTES: Spread.of([forward_bytes])})
    yield BACK_BYTES, Figure(None, "", {BYTES: Spread.of([back_bytes])})


def memory(setup: Setup) -> tuple[float, float]:
    """Bytes a token that are kept for going back: after going forward only, and after going back and forth."""
    part = 5 if setup.quick else 50
    debugger = setup.debugger(3 * part)
    do(debugger, f"token {part}")
    first = debugger.debuggee.timeline.bytes
    do(debugger, f"token {part}")
    forward = (debugger.debuggee.timeline.bytes - first) / part
    do(debugger, f"reverse-token {part // 2}")
    do(debugger, f"token {part // 2}")
    after = debugger.debuggee.timeline.bytes / (len(debugger.debuggee.prompt.ids) + 2 * part)
    debugger.close()
    return forward, after
