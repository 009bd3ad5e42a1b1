"""What one stop costs: at every layer of two tiny models, over a bare forward pre-hook and hook there.

Within one run tokens take turns: nothing on the layers, bare hooks, stops. So what is compared lies milliseconds apart,
and what the machine does meanwhile meets all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from benchmarks.harness import Figure, Setup, Spread, do, seconds
from benchmarks.tiny import tiny_llama, toy
from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.engine.stage_event import StageEvent
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
            for what, turns in TURNS.items():
                yield f"{what}, {name}", over_hooks(turns(model()), setup.times(200 if what == NEXT else 600))
    finally:
        torch.set_num_threads(threads)


class Turns:
    """One long generation, each of whose tokens can be run in another way. A call of `run` takes it one token on."""

    def __init__(self, model: Any) -> None:
        loaded = LoadedModel(type(model).__name__, model, None, "sdpa")
        self.generation = Generation(loaded, Prompt(_PROMPT, ""), GenerationSettings(20_000, greedy=True))
        self.layers = [stage.address for stage in self.generation.anatomy.layers()]

    def nothing(self) -> None:
        """A token with nothing on its layers."""
        raise NotImplementedError

    def measured(self) -> int:
        """A token with what is measured on every layer. Returns at how many stages."""
        raise NotImplementedError

    def bare_hooks(self) -> list[Any]:
        """Put a pre-hook and a hook that do nothing on every layer."""
        modules = [self.generation.anatomy.modules[address] for address in self.layers]
        before = [module.register_forward_pre_hook(lambda module, args: None) for module in modules]
        return before + [
            module.register_forward_hook(lambda module, args, kwargs, out: None, with_kwargs=True) for module in modules
        ]


class EngineTurns(Turns):
    """The generator alone, as whoever builds on the engine sees it."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.generation.stops.arm(["sample"])
        self._events = self.generation.events()
        for _ in range(2):
            next(self._events)

    def nothing(self) -> None:
        """Suspended where a token is chosen, and nowhere else."""
        self._to_next_token()

    def measured(self) -> int:
        """Suspended at every layer as well."""
        self.generation.stops.arm([*self.layers, "sample"])
        self._to_next_token()
        self.generation.stops.arm(["sample"])
        return len(self.layers)

    def _to_next_token(self) -> StageEvent:
        return next(event for event in self._events if event.chosen is not None)


class ConditionTurns(Turns):
    """A debugger that goes from token to token, with and without a breakpoint on every layer."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.debugger = Debugger(self.generation)
        do(self.debugger, "token 2")
        do(self.debugger, "break * if norm > 1e9")
        do(self.debugger, "disable 1")

    def nothing(self) -> None:
        """`token`, with the breakpoint off."""
        do(self.debugger, "token")

    def measured(self) -> int:
        """`token`, with the breakpoint on."""
        self.debugger.breakpoints.enable(1, enabled=True)
        do(self.debugger, "token")
        self.debugger.breakpoints.enable(1, enabled=False)
        return len(self.layers)


class NextTurns(ConditionTurns):
    """A debugger that is taken from layer to layer."""

    def measured(self) -> int:
        """`next` to the end of the token, through every layer and the steps around them."""
        do(self.debugger, "next")
        stages = 1
        while self.debugger.stop.stage.address != "sample":
            do(self.debugger, "next")
            stages += 1
        return stages


TURNS: dict[str, Callable[[Any], Turns]] = {ENGINE: EngineTurns, CONDITION: ConditionTurns, NEXT: NextTurns}


def over_hooks(turns: Turns, tokens: int) -> Figure:
    """Microseconds a stage of what is measured over bare hooks, and how many times what those cost that is."""
    hooks, ours = [], []
    for _ in range(tokens):
        nothing = seconds(turns.nothing)
        handles = turns.bare_hooks()
        hooked = seconds(turns.nothing)
        for handle in handles:
            handle.remove()
        started = time.perf_counter()
        stages = turns.measured()
        measured = time.perf_counter() - started
        hooks.append((hooked - nothing) / len(turns.layers) * 1e6)
        ours.append((measured - hooked) / stages * 1e6)
    bare = Spread.of(hooks).median
    return Figure(Spread.of(ours), "µs", {HOOKS: Spread.of([each / bare for each in ours])})
