"""One line of generated tokens, and what it takes to stand again at the beginning of any token's forward.

A timeline forks: the other shares every token, random state and cache entry before the fork, without a copy.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llmdbg.engine.fingerprints import fingerprint_of
from llmdbg.engine.generation.cache_bank import CacheBank
from llmdbg.engine.token_overrides import TokenOverrides

if TYPE_CHECKING:
    from llmdbg.engine.generation.module_state import ModuleState, State
    from llmdbg.engine.random_streams import RandomStreams
    from llmdbg.engine.settings import GenerationSettings

_FEWEST_MARKS = 64
_CACHE_NAMES = ("past_key_values", "cache_params")


@dataclass(frozen=True, slots=True)
class _Beginning:
    """How things stood before a token's forward."""

    streams: Any
    modules: State


@dataclass(slots=True)
class GenerationTimeline:
    """`ids` are the generated ids, those after the present stop included when someone has gone back.

    `settings` says from which token on which settings hold, `overrides` where a choice was not the model's own.
    """

    prompt_length: int
    settings: tuple[tuple[int, GenerationSettings], ...]
    ids: list[int] = field(default_factory=list)
    overrides: dict[int, TokenOverrides] = field(default_factory=dict)
    _bank: CacheBank = field(default_factory=CacheBank)
    _beginnings: list[_Beginning] = field(default_factory=list)
    _kwargs: dict[str, Any] = field(default_factory=dict)
    _kwargs_token: int = 0
    _live: Any = None
    _live_token: int = 0
    # One int64 a token, on the device of the logits: a tensor for each would take a hundred times as much.
    _marks: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    _marked: int = 0
    _doubts: list[tuple[int, Tensor]] = field(default_factory=list)

    def length(self, token: int) -> int:
        """How many positions have been fed before `token`'s forward."""
        return 0 if token == 0 else self.prompt_length + token - 1

    def settings_at(self, token: int) -> GenerationSettings:
        """The settings that hold while `token` is produced."""
        return next(settings for since, settings in reversed(self.settings) if since <= token)

    def next_change(self, token: int) -> int | None:
        """The first token after `token` with other settings."""
        return min((since for since, _ in self.settings if since > token), default=None)

    def nearest(self, token: int) -> int:
        """The last token up to `token` that a run can begin with. Tokens from there on are run again."""
        return min(self._bank.nearest(token), len(self._beginnings) - 1) if self._beginnings else 0

    def knows(self, token: int) -> bool:
        """Whether it is known how things stood at a token's beginning. Not so in a timeline made of ids alone."""
        return token < len(self._beginnings)

    def begin(self, token: int, kwargs: dict[str, Any], streams: RandomStreams, modules: ModuleState) -> None:
        """`token`'s forward comes next: note how things stand, or have them stand as they did."""
        cache = _cache(kwargs)
        if token == 0:
            modules.mark()
        elif token == 1 and modules.holds_state():
            self._bank.give_up()
        elif token > 1 and self._live is not None and cache is not self._live:
            # Phi-3 begins another cache where its long rotary factors take over: positions are not what they were.
            self._bank.give_up()
        self._live, self._live_token = cache, token
        self._bank.note(cache, token, self.length(token), caching=bool(kwargs.get("use_cache")))
        if token < len(self._beginnings):
            streams.restore(self._beginnings[token].streams)
            modules.restore(self._beginnings[token].modules)
            return
        now = _Beginning(streams.states(), modules.now())
        last = self._beginnings[-1] if self._beginnings else None
        # Greedy runs draw nothing: one state serves them all.
        if last is not None and _equal(last.streams, now.streams):
            now = replace(now, streams=last.streams)
        self._beginnings.append(now)
        self._kwargs, self._kwargs_token = {k: v for k, v in kwargs.items() if k not in _CACHE_NAMES}, token

    def resume(self, token: int, input_ids: Tensor, kwargs: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """The ids (1, length) and keyword arguments that `token`'s forward began with, its cache restored in place."""
        known = torch.tensor([self.ids[:token]], device=input_ids.device, dtype=input_ids.dtype)
        self._bank.restore(_cache(kwargs), token, self.length(token))
        full, wanted = self.prompt_length + self._kwargs_token, self.prompt_length + token
        for name, value in self._kwargs.items():
            grows = isinstance(value, Tensor) and value.dim() > 0 and value.shape[-1] == full
            kwargs[name] = value[..., :wanted] if grows else value
        return torch.cat([input_ids, known], dim=-1), kwargs

    def took(self, token: int, id: int, logits: Tensor) -> None:
        """`id` was chosen as generated token `token` from raw `logits` (1, vocabulary)."""
        fingerprint = fingerprint_of(logits)
        if token < self._marked:
            self._doubts.append((token, self._marks[token] != fingerprint))
        if token >= len(self._marks):
            grown = fingerprint.new_zeros(max(_FEWEST_MARKS, 2 * token))
            grown[: self._marked] = self._marks[: self._marked]
            self._marks = grown
        self._marks[token] = fingerprint
        self._marked = max(self._marked, token + 1)
        if token < len(self.ids) and self.ids[token] != id:
            self._forget_after(token)
        if token == len(self.ids):
            self.ids.append(id)

    def differing(self) -> tuple[int, ...]:
        """The tokens whose logits came out otherwise when they were run again, since the last time of asking."""
        doubts, self._doubts = self._doubts, []
        return tuple(token for token, differs in doubts if bool(differs))

    def fingerprints(self) -> dict[int, int]:
        """A hash of the bits of the raw logits of each token that was chosen. Waits for the device."""
        return dict(enumerate(self._marks[: self._marked].tolist()))

    def leave(self) -> None:
        """The run is given up: keep what its cache holds."""
        if self._live is not None:
            self._bank.keep(self._live, self.length(self._live_token))
        self._live = None

    def fork(self, token: int) -> GenerationTimeline:
        """Another timeline that shares everything before `token`'s forward. The run must have been left."""
        other = GenerationTimeline(self.prompt_length, self.settings, self.ids[:token])
        other.overrides = {at: overrides for at, overrides in self.overrides.items() if at < token}
        other._bank = self._bank.fork(token, self.length(token))
        other._beginnings = self._beginnings[: token + 1]
        other._kwargs, other._kwargs_token = self._kwargs, self._kwargs_token
        other._marked = min(token, self._marked)
        other._marks = self._marks[: other._marked].clone()
        return other

    @property
    def cache(self) -> Any:
        """The cache of the run that is under way, None where there is none (yet)."""
        return self._live

    @property
    def bytes(self) -> int:
        """Bytes kept for going back, tensors that a running cache holds as well included."""
        states = {id(each.streams): each.streams for each in self._beginnings}
        return self._bank.bytes + sum(_state_bytes(state) for state in states.values())

    def _forget_after(self, token: int) -> None:
        del self.ids[token:]
        del self._beginnings[token + 1 :]
        self._bank.cut(token, self.length(token))
        self._marked = min(self._marked, token + 1)


def _cache(kwargs: dict[str, Any]) -> Any:
    return next((kwargs[name] for name in _CACHE_NAMES if kwargs.get(name) is not None), None)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    return all(map(torch.equal, one, other))


def _state_bytes(state: Any) -> int:
    return state.nbytes if isinstance(state, Tensor) else sum(each.nbytes for each in state)
