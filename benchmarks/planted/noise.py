"""Pairs that differ by noise alone: kernel, left padding, threads, dtype, cache."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import wraps

import torch
from transformers import PreTrainedModel

from benchmarks.planted.ground import DEMO, copied, ground, side
from benchmarks.planted.running import ARCHITECTURES
from llmdbg.debugger.comparison.comparing import compare
from llmdbg.debugger.comparison.outcome import Comparison
from llmdbg.debugger.comparison.side import LiveSide
from tests.tiny import attention_implementations

_HALVES = ("bfloat16", "float16")
_SOME = ("kernel", "padding", "threads", "dtype", "cache")


@dataclass(frozen=True)
class NoisePair:
    """Two sides that differ in these ways."""

    model: str
    seed: int
    kernel: str | None = None
    """The candidate's attention."""
    padding: int = 0
    """Pad tokens in front of the candidate's prompt."""
    threads: int = 1
    """The candidate's threads."""
    dtype: str = "float32"
    """The candidate's."""
    base: str = "float32"
    """The reference's dtype."""
    cache: str | None = None
    """The candidate's cache."""

    @property
    def differs(self) -> str:
        """In what the two differ."""
        parts = [self.kernel, f"{self.padding} pads" if self.padding else None]
        parts += ["2 threads" if self.threads > 1 else None, self.cache]
        parts.append(f"{self.dtype} for {self.base}" if self.dtype != self.base else None)
        return ", ".join(each for each in parts if each)

    def __str__(self) -> str:
        return f"{self.model} {self.seed}: {self.differs}"


def pairs(count: int, demo: int) -> Iterator[NoisePair]:
    """So many pairs, each way alone and some together, over the architectures; `demo` of them in the demo model."""
    rng = random.Random(0)
    for at in range(count):
        name = DEMO if at >= count - demo else ARCHITECTURES[at % len(ARCHITECTURES)]
        ways = {_SOME[(at // 2) % len(_SOME)]} if at % 3 else set(rng.sample(_SOME, 3))
        pair = _drawn(name, at, ways, rng)
        while not pair.differs:
            pair = _drawn(name, at, {rng.choice(_SOME)}, rng)
        yield pair


def _drawn(name: str, seed: int, ways: set[str], rng: random.Random) -> NoisePair:
    model = ground(name, seed).model
    pair = NoisePair(name, seed)
    now = model.config._attn_implementation
    others = ("eager",) if name == DEMO else [each for each in attention_implementations(name) if each != now]
    if "kernel" in ways and others and model.config.model_type != "gemma2":
        pair = replace(pair, kernel=others[0])
    if "padding" in ways and name != "mamba":
        pair = replace(pair, padding=rng.randint(1, 16))
    if "threads" in ways:
        pair = replace(pair, threads=2)
    if "dtype" in ways:
        one, other = rng.choice(_HALVES), rng.choice(("float32", *_HALVES))
        pair = replace(pair, dtype=one, base=other)
    if "cache" in ways and name not in ("mamba", "falcon"):
        pair = replace(pair, cache="static")
    return pair


@dataclass(frozen=True)
class Accused:
    """What a comparison said of a pair."""

    pair: NoisePair
    found: Comparison


def run(pair: NoisePair) -> Accused:
    """Compare the two sides of a pair."""
    place = ground(pair.model, pair.seed)
    reference = copied(place.model, getattr(torch, pair.base))
    candidate = copied(place.model, getattr(torch, pair.dtype), lambda model: _set_up(model, pair))
    other = side(candidate, place.ids, padding=pair.padding)
    if pair.threads > 1:
        other = _with_threads(other, pair.threads)
    found = compare(side(reference, place.ids), other)
    return Accused(pair, found)


def _set_up(model: PreTrainedModel, pair: NoisePair) -> None:
    if pair.kernel is not None:
        model.set_attn_implementation(pair.kernel)
    if pair.cache is not None:
        model.generation_config = copy.deepcopy(model.generation_config)
        model.generation_config.cache_implementation = pair.cache


def _with_threads(one: LiveSide, threads: int) -> LiveSide:
    """The same side, whose model computes with so many threads."""
    forward = one.loaded.model.forward

    @wraps(forward)
    def threaded(*args: object, **kwargs: object) -> object:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            return forward(*args, **kwargs)
        finally:
            torch.set_num_threads(before)

    one.loaded.model.forward = threaded
    return one
