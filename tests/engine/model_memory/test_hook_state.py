"""Forward hooks of somebody else that remember: going back puts their memory back, or says first that it cannot."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from llmdbg.engine.model_memory.hook_state import HookState
from tests.sessions import do, tiny_session

CALLS = 0
SEEN: list[int] = []


@dataclass(slots=True)
class Slotted:
    calls: int = 0


class Owner:
    def __init__(self) -> None:
        self.state: dict[str, Any] = {"calls": 0}

    def hook(self, _module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        self.state["calls"] += 1
        return turned(output, self.state["calls"])


class Callable_(nn.Module):
    calls: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def __call__(self, _module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return turned(output, int(self.calls))


def turned(output: torch.Tensor, calls: int) -> torch.Tensor:
    """Another output at every second call."""
    return output.flip(-1) * (1 + calls) if calls % 2 else output


def in_closure() -> Any:
    calls = 0

    def hook(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return turned(output, calls)

    return hook


def in_a_helpers_closure() -> Any:
    inner = in_closure()
    return lambda *given: inner(*given[:2], given[2] * 1.5)


def in_globals() -> Any:
    def hook(_module: Any, _args: Any, output: torch.Tensor) -> torch.Tensor:
        global CALLS
        CALLS += 1
        SEEN.append(CALLS)
        return turned(output, len(SEEN))

    return hook


def by(remember: Any, count: Callable[[Any], int]) -> Any:
    return lambda _module, _args, output: turned(output, count(remember))


def in_default() -> Any:
    def hook(_module: Any, _args: Any, output: torch.Tensor, seen: list[int] = []) -> torch.Tensor:  # noqa: B006
        seen.append(1)
        return turned(output, len(seen))

    return hook


def appended(seen: Any) -> int:
    seen.append(1)
    return len(seen)


def slotted(memory: Slotted) -> int:
    memory.calls += 1
    return memory.calls


def added(tensor: torch.Tensor) -> int:
    tensor[0] += 1
    return int(tensor[0])


def bound_append() -> Any:
    seen: list[int] = []
    append, length = seen.append, seen.__len__
    return lambda _module, _args, output: turned(output, append(1) or length())


MEMORIES: dict[str, Callable[[], Any]] = {
    "closure": in_closure,
    "a helper's closure": in_a_helpers_closure,
    "globals": in_globals,
    "object": lambda: Owner().hook,
    "module": Callable_,
    "default": in_default,
    "list": lambda: by([], appended),
    "deque": lambda: by(deque(maxlen=99), appended),
    "slots": lambda: by(Slotted(), slotted),
    "tensor": lambda: by(torch.zeros(3), added),
    "array": lambda: by(np.zeros(3), added),
    "bound method": bound_append,
    "random": lambda: by(random.Random(3), lambda stream: stream.randrange(6)),
    "numpy": lambda: by(np.random.default_rng(3), lambda stream: int(stream.integers(6))),
    "torch": lambda: by(torch.Generator().manual_seed(3), lambda own: int(torch.randint(6, (1,), generator=own))),
}


@pytest.fixture
def hooked() -> Iterator[Callable[..., Any]]:
    sessions, handles = list[Any](), list[Any]()

    def make(*hooks: Any, text: str = "Hello there") -> Any:
        session = tiny_session(text=text, max_new_tokens=8)
        sessions.append(session)
        layers = session.debuggee.loaded.model.model.layers
        handles.extend(layers[0].register_forward_hook(each) for each in hooks)
        return session

    yield make
    for each in handles:
        each.remove()
    for each in sessions:
        each.close()


@pytest.mark.parametrize("kind", MEMORIES)
def test_a_hook_that_remembers_is_called_as_often_after_going_back(kind, hooked):
    plain = hooked()
    do(plain, "continue")
    session = hooked(MEMORIES[kind]())
    do(session, "token 5")
    seen = session.run.generated_ids()
    for move in ("goto 0@2", "reverse-step 3", "goto sample@4"):
        do(session, move)
    assert session.run.generated_ids() == seen
    do(session, "continue")
    ids = session.end.ids
    assert ids != plain.end.ids, "the hook matters"
    do(session, "goto 1@3", "reverse-token", "continue")
    assert session.end.ids == ids
    assert session.debuggee.timeline.differing() == ()
    assert do(session, "verify").data.differs is None
    [note] = [note for note in session.debuggee.notes if "hook" in note]
    assert "on model.layers.0 remembers from forward to forward: going back puts that back" in note


def test_two_hooks_go_on_sharing_what_they_share(hooked):
    shared: dict[str, int] = {"calls": 0}

    def count(_module: Any, _args: Any, _output: Any) -> None:
        shared["calls"] += 1

    session = hooked(count, by(shared, lambda held: held["calls"]))
    do(session, "continue")
    ids, calls = session.end.ids, shared["calls"]
    do(session, "goto 0@2", "continue")
    assert session.end.ids == ids
    assert shared["calls"] == calls, "the user's own names see what the hooks see"


OUT_OF_REACH: dict[str, Callable[[], Any]] = {
    "count": lambda: by(itertools.count(1), next),
    "generator": lambda: by((each for each in itertools.count(1)), next),
    "large tensor": lambda: by(torch.zeros(500_000), added),
    "large array": lambda: by(np.zeros(500_000), added),
    "too much": lambda: by([[number] for number in range(30_000)], appended),
}


@pytest.mark.parametrize("kind", OUT_OF_REACH)
def test_what_cannot_be_put_back_is_named_before_anybody_goes_back(kind, hooked):
    session = hooked(OUT_OF_REACH[kind]())
    do(session, "goto 1@0")
    [note] = [note for note in session.debuggee.notes if "hook" in note]
    assert note.startswith("what the hook by.<lambda> on model.layers.0 remembers may not be put back")


def test_a_hook_that_remembers_nothing_costs_nothing(hooked):
    session = hooked(lambda _module, _args, output: output * 2)
    do(session, "continue", "goto 0@3", "continue")
    assert not [note for note in session.debuggee.notes if "hook" in note]
    assert not session.debuggee._past.reruns


def test_our_own_hooks_are_not_somebody_elses(hooked):
    session = hooked()
    do(session, "break 0.mlp", "watch norm at 1", "continue")
    state = HookState(session.debuggee.loaded.model)
    assert list(state._hooks()) == []


def test_a_large_buffer_that_forwards_write_into_is_named_before_anybody_goes_back(hooked):
    session = hooked()
    layer = session.debuggee.loaded.model.model.layers[0]
    layer.register_buffer("past", torch.zeros(200_000))
    forward = layer.mlp.forward

    def counting(hidden: torch.Tensor) -> torch.Tensor:
        layer.past[0] += 1
        return turned(forward(hidden), int(layer.past[0]))

    layer.mlp.forward = counting
    try:
        do(session, "run" if session.run.event is None else "goto 1@0")
        assert any("model.layers.0.past has been written into" in note for note in session.debuggee.notes)
    finally:
        del layer.mlp.forward, layer.past
