"""What one stop costs: at every layer of two tiny models, over a bare forward pre-hook and hook there.

Within one run tokens take turns: nothing on the layers, bare hooks, what is measured. So what is compared lies
milliseconds apart, and what the machine does meanwhile meets all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

import torch

from benchmarks.harness import Figure, Setup, Spread, do
from benchmarks.tiny import tiny_llama, toy
from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.spec import LoadedModel
from llmdbg.models.tokens import Prompt

TOY, LLAMA = "toy layers", "tiny Llama"
MODELS = {TOY: toy, LLAMA: tiny_llama}

ENGINE, CONDITION, NEXT = (
    "the engine alone: suspended and resumed",
    "a condition that does not hold: `break * if norm > 1e9`",
    "`next` in a program: suspended, described, resumed",
)

ROWS = {
    f"{what}, {model}": "≤ 6 µs" if (what, model) == (ENGINE, TOY) else ""
    for what in (ENGINE, CONDITION, NEXT)
    for model in MODELS
}

HOOKS = "× a bare pre-hook and hook"
_PROMPT = (1, 2, 3)


def measure(setup: Setup) -> Iterator[tuple[str, Figure]]:
    """Every row, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for name, model in MODELS.items():
            # Where a token takes least, what hooks add to it is seen best.
            bare, over = over_hooks(EngineTurns(model()), setup.times(600))
            found = {ENGINE: over}
            for what, count in ((CONDITION, 60), (NEXT, 200)):
                _, found[what] = over_hooks(TURNS[what](model()), setup.times(count))
            for what, microseconds in found.items():
                ratios = [each / bare for each in microseconds]
                yield f"{what}, {name}", Figure(Spread.of(microseconds), "µs", {HOOKS: Spread.of(ratios)})
    finally:
        torch.set_num_threads(threads)


def over_hooks(turns: Turns, count: int) -> tuple[float, list[float]]:
    """Microseconds a stage: what bare hooks cost, and what each turn cost over them."""
    hooks, ours = [], []
    for _ in range(count):
        nothing, hooked, measured = (turns.microseconds(way) for way in Way)
        hooks.append(hooked - nothing)
        ours.append(measured - hooked)
    return Spread.of(hooks).median, ours


class Way(StrEnum):
    """What is on every layer."""

    NOTHING = "nothing"
    HOOKED = "hooked"
    MEASURED = "measured"


class Turns:
    """One long generation that goes on in any of the ways: `prepare` one, then `go` some tokens on."""

    tokens = 1
    """How many tokens `go` goes on."""

    def __init__(self, model: Any) -> None:
        loaded = LoadedModel(type(model).__name__, model, None, "sdpa")
        self.generation = Generation(loaded, Prompt(_PROMPT, ""), GenerationSettings(20_000, greedy=True))
        self.layers = [stage.address for stage in self.generation.anatomy.layers()]
        self._bare: list[Any] = []

    def microseconds(self, way: Way) -> float:
        """What one stage takes: `go` over how many there were."""
        self.prepare(way)
        started = time.perf_counter()
        stages = self.go(way)
        return (time.perf_counter() - started) * 1e6 / stages

    def prepare(self, way: Way) -> None:
        """Put on the layers what a way has there, and take off what another had."""
        for handle in self._bare:
            handle.remove()
        self._bare = []
        if way is Way.HOOKED:
            for module in (self.generation.anatomy.modules[address] for address in self.layers):
                self._bare.append(module.register_forward_pre_hook(lambda module, args: None))
                self._bare.append(
                    module.register_forward_hook(lambda module, args, kwargs, out: None, with_kwargs=True)
                )

    def go(self, way: Way) -> int:
        """Go on. Returns over how many stages."""
        raise NotImplementedError


class EngineTurns(Turns):
    """The generator alone, as whoever builds on the engine sees it: suspended where a token is chosen."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.generation.stops.arm(["sample"])
        self._events = self.generation.events()
        for _ in range(2):
            next(self._events)

    def prepare(self, way: Way) -> None:
        """Measured is being suspended at every layer as well."""
        super().prepare(way)
        self.generation.stops.arm([*self.layers, "sample"] if way is Way.MEASURED else ["sample"])

    def go(self, way: Way) -> int:
        """To where the next token is chosen."""
        next(event for event in self._events if event.chosen is not None)
        return len(self.layers)


class ConditionTurns(Turns):
    """A debugger that goes on over several tokens, so that hooks are put on once, as `continue` does."""

    tokens = 8

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.debugger = Debugger(self.generation)
        do(self.debugger, "token 2")
        do(self.debugger, "break * if norm > 1e9")

    def prepare(self, way: Way) -> None:
        """Measured is with the breakpoint on."""
        super().prepare(way)
        do(self.debugger, "enable 1" if way is Way.MEASURED else "disable 1")

    def go(self, way: Way) -> int:
        """`token 8`."""
        do(self.debugger, f"token {self.tokens}")
        return self.tokens * len(self.layers)


class NextTurns(Turns):
    """A debugger that is taken from layer to layer."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.debugger = Debugger(self.generation)
        do(self.debugger, "token 2")

    def go(self, way: Way) -> int:
        """`token`; measured is `next` to the end of the token, through every layer and the steps around them."""
        if way is not Way.MEASURED:
            do(self.debugger, "token")
            return len(self.layers)
        do(self.debugger, "next")
        stages = 1
        while self.debugger.stop.stage.address != "sample":
            do(self.debugger, "next")
            stages += 1
        return stages


TURNS: dict[str, Callable[[Any], Turns]] = {ENGINE: EngineTurns, CONDITION: ConditionTurns, NEXT: NextTurns}
