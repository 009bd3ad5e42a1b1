"""Plants faults and pairs that differ by noise alone, compares, and counts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from benchmarks.planted import context_faults, function_faults, weight_faults
from benchmarks.planted.ground import DEMO, Fault, Ground, copied, ground, side
from llmdbg.debugger.comparison.comparing import compare
from llmdbg.debugger.comparison.outcome import Comparison, Verdict

KINDS: dict[str, Callable[[Ground], Fault | None]] = {
    **weight_faults.KINDS,
    **function_faults.KINDS,
    **context_faults.KINDS,
}
ARCHITECTURES = (
    *("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "gpt2", "gpt_neox"),
    *("phi3", "qwen3_moe", "mixtral", "mamba", "opt", "falcon"),
)
DTYPES = {"float32": None, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Case:
    """A kind of fault in a model, drawn with a seed."""

    kind: str
    model: str
    seed: int

    def fault(self) -> tuple[Ground, Fault | None]:
        """Draw it: the same each time."""
        place = ground(self.model, self.seed)
        return place, KINDS[self.kind](place)

    def __str__(self) -> str:
        return f"{self.kind} / {self.model} / {self.seed}"


@dataclass(frozen=True)
class Outcome:
    """What a comparison said of a planted fault."""

    case: Case
    dtype: str
    fault: Fault
    found: Comparison
    counts: bool
    """Whether it is there at all: a change may round away, or change no bit of any stage."""

    @property
    def named(self) -> str:
        """The address that was named."""
        return "nothing" if self.found.first is None else self.found.first.address

    @property
    def right(self) -> bool:
        """Whether it is one that counts."""
        return self.named in self.fault.right


def cases(count: int, demo: int, seed: int = 0) -> Iterator[Case]:
    """So many cases, the kinds in turn over the architectures; `demo` of them in the demo model."""
    drawn = 0
    while drawn < count:
        for at, kind in enumerate(KINDS):
            # A step that shares no factor with the number of architectures, so that each kind meets many.
            for tried in range(len(ARCHITECTURES)):
                name = ARCHITECTURES[(at * 3 + seed * 5 + tried) % len(ARCHITECTURES)]
                name = DEMO if drawn >= count - demo else name
                case = Case(kind, name, seed)
                if case.fault()[1] is not None:
                    yield case
                    drawn += 1
                    break
                if name == DEMO:
                    break
            if drawn == count:
                return
        seed += 1


def run(case: Case, dtype: str) -> Outcome:
    """Plant a fault and compare."""
    place, fault = case.fault()
    assert fault is not None
    reference = copied(place.model, None, fault.before)
    candidate = copied(reference, fault.dtype or DTYPES[dtype], fault.plant)
    found = compare(
        side(reference, place.ids, fault.settings[0]), side(candidate, fault.ids or place.ids, fault.settings[1])
    )
    if case.kind in weight_faults.KINDS:
        counts = not _same_weights(candidate, copied(reference, fault.dtype or DTYPES[dtype]))
    else:
        counts = found.verdict is not Verdict.SAME
    return Outcome(case, dtype, fault, found, counts)


def _same_weights(one: nn.Module, other: nn.Module) -> bool:
    ours, theirs = (dict(model.named_parameters(remove_duplicate=False)) for model in (one, other))
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(text, file=sys.stderr, flush=True)
