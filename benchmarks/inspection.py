"""What looking inside costs: `info lens` and `info attention` in a program, and a token whose panes ask as it goes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from benchmarks.harness import PROMPT, Figure, Setup, Spread, do, milliseconds, pairs, rounds, say
from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.standing_questions import STANDING_QUESTIONS

LONG = "The quick brown fox jumps over the lazy dog. " * 30

LENS = "`info lens` at the end of a decode, its layers recorded in passing"
ATTENTION = {
    (token, place): f"`info attention` {when}, standing after {where}, nobody having asked before"
    for token, when in ((20, "in a decode"), (0, "in the prefill of 300 tokens"))
    for place, where in ((0, "the first layer"), (1, "the middle one"), (2, "the last"))
}
PANES = {name: f"`token` with the {name} pane in view" for name in ("explain", "lens", "attention")}

ROWS = {LENS: "≤ 2 ×", **dict.fromkeys(ATTENTION.values(), "≤ 1 ×"), **dict.fromkeys(PANES.values(), "")}

PRODUCT, FORWARD, PLAIN = (
    "× one head product for every 8 layers",
    "× one bare forward of that token",
    "× `token` with no such pane",
)


def measure(setup: Setup) -> Iterator[tuple[str, Figure]]:
    """Every row."""
    yield LENS, lens(setup)
    for (token, place), row in ATTENTION.items():
        yield row, attention(setup, token, place)
    yield from panes(setup)


def lens(setup: Setup) -> Figure:
    """The whole lens of a stop."""
    debugger = setup.debugger(60)
    do(debugger, "goto logits@20")
    do(debugger, "info lens")
    head = setup.loaded.model.get_output_embeddings()
    residual = torch.randn(1, head.weight.shape[1], dtype=head.weight.dtype, device=head.weight.device)
    eighths = len(debugger.debuggee.anatomy.layers()) / 8

    def products() -> float:
        # `forward`, not a call: the run is suspended with a hook on the head.
        return milliseconds(lambda: head.forward(residual)) * eighths

    with torch.no_grad():
        times, _, ratios = pairs(partial(milliseconds, partial(do, debugger, "info lens")), products, setup.times(20))
    debugger.close()
    return Figure(Spread.of(times), "ms", {PRODUCT: Spread.of(ratios)})


def attention(setup: Setup, token: int, place: int) -> Figure:
    """Attention of the layer where the run stands, when nothing of the token has been recorded."""
    debugger = setup.debugger(60, LONG if token == 0 else PROMPT)
    last = len(debugger.debuggee.anatomy.layers()) - 1
    layer = (0, last // 2, last)[place]

    def asked() -> float:
        do(debugger, f"goto {layer}@{token}")
        debugger.run.recorder.forget()
        return milliseconds(partial(do, debugger, f"info attention {layer}"))

    def forward() -> float:
        do(debugger, f"goto {max(0, layer - 1)}@{token}")
        return milliseconds(lambda: debugger.replay.run_token(token, lambda _: False, ()))

    times, _, ratios = pairs(asked, forward, setup.times(5 if token == 0 else 12))
    debugger.close()
    return Figure(Spread.of(times), "ms", {FORWARD: Spread.of(ratios)})


def panes(setup: Setup) -> Iterator[tuple[str, Figure]]:
    """Going to the next token and answering what a pane in view asks there, over going there alone."""
    say("  tokens with panes in view")
    open_panes = {name: setup.debugger(200) for name in PANES}
    plain = setup.debugger(200)
    for debugger in (*open_panes.values(), plain):
        do(debugger, "token 2")
    sides = {name: partial(milliseconds, partial(_token_with, debugger, name)) for name, debugger in open_panes.items()}
    for side in sides.values():
        side()  # the first answer runs the token again; from then on it is recorded in passing
    found = rounds(sides, partial(milliseconds, partial(do, plain, "token")), setup.times(20))
    for debugger in (*open_panes.values(), plain):
        debugger.close()
    for name, (times, ratios) in found.items():
        yield PANES[name], Figure(Spread.of(times), "ms", {PLAIN: Spread.of(ratios)})


def _token_with(debugger: Debugger, pane: str) -> None:
    do(debugger, "token")
    STANDING_QUESTIONS[pane].ask(debugger.inspector)
