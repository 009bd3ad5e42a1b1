"""A sequence of generated tokens, with the state needed to restart from any token's forward.

A timeline can fork: the fork shares every token, random state and cache entry before it, without a copy.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llmdbg.engine.fingerprints import fingerprint_of
from llmdbg.engine.generation.cache_bank import CacheBank
from llmdbg.engine.model_memory.snapshots import tensor_bytes
from llmdbg.engine.random_streams import same_states
from llmdbg.engine.token_overrides import TokenOverrides

if TYPE_CHECKING:
    from llmdbg.engine.generation.processor_state import Kept
    from llmdbg.engine.generation.replay_state import ReplayState
    from llmdbg.engine.model_memory.module_state import State
    from llmdbg.engine.settings import GenerationSettings

_FEWEST_FINGERPRINTS = 64
_CACHE_NAMES = ("past_key_values", "cache_params")


@dataclass(frozen=True, slots=True)
class _StartState:
    """The state before a token's forward, besides the cache."""

    streams: Any
    modules: State
    processors: Kept


@dataclass(slots=True)
class GenerationTimeline:
    """One timeline of a `Generation`. Saves and restores state through `begin` and `resume`."""

    prompt_length: int
    """In tokens."""
    settings: tuple[tuple[int, GenerationSettings], ...]
    """The settings and the token from which each applies; the first from token 0."""
    ids: list[int] = field(default_factory=list)
    """The generated ids; after going back, those beyond the current stop too."""
    overrides: dict[int, TokenOverrides] = field(default_factory=dict)
    """Forced and banned tokens, by generated token."""
    _bank: CacheBank = field(default_factory=CacheBank)
    _start_states: list[_StartState] = field(default_factory=list)
    _kwargs: dict[str, Any] = field(default_factory=dict)
    _kwargs_token: int = 0
    _live: Any = None
    _live_token: int = 0
    # One int64 per token on the logits' device: a tensor for each would take a hundred times as much.
    _fingerprints: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    # By token, a number that is finite if its logits and scores give probabilities.
    _highest: Tensor = field(default_factory=lambda: torch.zeros(0))
    _fingerprinted: int = 0
    _known_finite: int = 0
    _comparisons: list[tuple[int, Tensor | bool]] = field(default_factory=list)

    def length(self, token: int) -> int:
        """How many positions were fed before `token`'s forward."""
        return 0 if token == 0 else self.prompt_length + token - 1

    def settings_at(self, token: int) -> GenerationSettings:
        """The settings in effect while `token` is produced."""
        return next(settings for since, settings in reversed(self.settings) if since <= token)

    def next_change(self, token: int) -> int | None:
        """The first token after `token` where the settings change; None if they do not."""
        return min((since for since, _ in self.settings if since > token), default=None)

    def nearest(self, token: int) -> int:
        """The last token up to `token` that a run can start with; tokens from there on are rerun."""
        return min(self._bank.nearest(token), len(self._start_states) - 1) if self._start_states else 0

    def knows(self, token: int) -> bool:
        """Whether the state before a token's forward is known. It is not in a timeline made of ids alone."""
        return token < len(self._start_states)

    def begin(self, token: int, kwargs: dict[str, Any], past: ReplayState) -> None:
        """Before `token`'s forward, save the state, or restore it if the token ran before."""
        cache = _cache(kwargs)
        if token == 0:
            past.begin()
        elif token == 1:
            past.modules.settle()
        elif self._live is not None and cache is not self._live:
            # Phi-3 starts a new cache where its long rotary factors take over: cached positions are no longer valid.
            self._bank.give_up()
        self._live, self._live_token = cache, token
        self._bank.note(cache, token, self.length(token), caching=bool(kwargs.get("use_cache")))
        if token < len(self._start_states):
            past.streams.restore(self._start_states[token].streams)
            past.modules.restore(self._start_states[token].modules)
            past.processors.restore(self._start_states[token].processors)
            return
        now = _StartState(past.streams.states(), past.modules.now(), past.processors.now())
        last = self._start_states[-1] if self._start_states else None
        # Greedy runs draw nothing, so all tokens share one state.
        if last is not None and same_states(last.streams, now.streams):
            now = replace(now, streams=last.streams)
        self._start_states.append(now)
        self._kwargs, self._kwargs_token = {k: v for k, v in kwargs.items() if k not in _CACHE_NAMES}, token

    def resume(self, token: int, input_ids: Tensor, kwargs: dict[str, Any]) -> tuple[Tensor, dict[str, Any]]:
        """The ids (1, length) and keyword arguments of `token`'s forward, with the cache restored in place."""
        known = torch.tensor([self.ids[:token]], device=input_ids.device, dtype=input_ids.dtype)
        self._bank.restore(_cache(kwargs), token, self.length(token))
        full, wanted = self.prompt_length + self._kwargs_token, self.prompt_length + token
        for name, value in self._kwargs.items():
            grows = isinstance(value, Tensor) and value.dim() > 0 and value.shape[-1] == full
            kwargs[name] = value[..., :wanted] if grows else value
        return torch.cat([input_ids, known], dim=-1), kwargs

    def took(self, token: int, id: int, logits: Tensor, scores: Tensor) -> None:
        """Record that `id` was chosen as generated token `token`.

        `logits` (1, vocabulary) are the raw ones, `scores` those after every processor.
        """
        is_first = token == self._fingerprinted
        self.compare(token, logits)
        if is_first and scores is not logits:
            # Zero if it is finite, and else no number.
            self._highest[token] += scores.amax() * 0
        if token < len(self.ids) and self.ids[token] != id:
            self._comparisons.append((token, True))
            self._forget_after(token)
        if token == len(self.ids):
            self.ids.append(id)

    def compare(self, token: int, logits: Tensor) -> None:
        """Compare the raw `logits` (1, vocabulary) of a token with its first run's. Does not wait for the device."""
        fingerprint = fingerprint_of(logits)
        if token < self._fingerprinted:
            self._comparisons.append((token, self._fingerprints[token] != fingerprint))
            return
        if token > self._fingerprinted:
            return
        if token >= len(self._fingerprints):
            length = max(_FEWEST_FINGERPRINTS, 2 * token)
            self._fingerprints = _lengthened(self._fingerprints, fingerprint.new_zeros(length))
            self._highest = _lengthened(self._highest, logits.new_zeros(length))
        self._fingerprints[token] = fingerprint
        self._highest[token] = logits.amax()
        self._fingerprinted = token + 1

    def differing(self) -> tuple[int, ...]:
        """The tokens whose logits came out differently when rerun, since the last call. Waits for the device."""
        comparisons, self._comparisons = self._comparisons, []
        return tuple(token for token, differs in comparisons if bool(differs))

    def fingerprints(self) -> dict[int, int]:
        """A hash of the bits of the raw logits, by generated token, for each token chosen. Waits for the device."""
        return dict(enumerate(self._fingerprints[: self._fingerprinted].tolist()))

    def not_finite_since(self) -> int | None:
        """The first chosen token whose raw or processed logits gave no probabilities. Waits for the device."""
        if self._known_finite == self._fingerprinted:
            return None
        fresh = torch.isfinite(self._highest[self._known_finite : self._fingerprinted]).tolist()
        since = None if all(fresh) else self._known_finite + fresh.index(False)
        self._known_finite = self._fingerprinted if since is None else since
        return since

    def leave(self) -> None:
        """At the end of a run, keep what its cache holds."""
        if self._live is not None:
            self._bank.keep(self._live, self.length(self._live_token))
        self._live = None

    def fork(self, token: int) -> GenerationTimeline:
        """A timeline that shares everything before `token`'s forward. The run must have been closed."""
        other = GenerationTimeline(self.prompt_length, self.settings, self.ids[:token])
        other.overrides = {at: overrides for at, overrides in self.overrides.items() if at < token}
        other._bank = self._bank.fork(token, self.length(token))
        other._start_states = self._start_states[: token + 1]
        other._kwargs, other._kwargs_token = self._kwargs, self._kwargs_token
        other._fingerprinted = min(token, self._fingerprinted)
        other._fingerprints = self._fingerprints[: other._fingerprinted].clone()
        other._highest = self._highest[: other._fingerprinted].clone()
        return other

    @property
    def cache(self) -> Any:
        """The cache of the active run; None if there is none (yet)."""
        return self._live

    @property
    def bytes(self) -> int:
        """Bytes kept for going back, including tensors that a live cache also holds."""
        states = {id(each.streams): each.streams for each in self._start_states}
        kept = {id(copy): copy for each in self._start_states for copy in each.processors.values()}
        return self._bank.bytes + sum(map(_state_bytes, states.values())) + sum(map(tensor_bytes, kept.values()))

    def _forget_after(self, token: int) -> None:
        del self.ids[token:]
        del self._start_states[token + 1 :]
        self._bank.cut(token, self.length(token))
        self._fingerprinted = min(self._fingerprinted, token + 1)
        self._known_finite = min(self._known_finite, self._fingerprinted)


def _cache(kwargs: dict[str, Any]) -> Any:
    return next((kwargs[name] for name in _CACHE_NAMES if kwargs.get(name) is not None), None)


def _lengthened(numbers: Tensor, longer: Tensor) -> Tensor:
    """`longer` (longer,), with `numbers` (shorter,) at its beginning."""
    longer[: len(numbers)] = numbers
    return longer


def _state_bytes(state: Any) -> int:
    return state.nbytes if isinstance(state, Tensor) else sum(each.nbytes for each in state)
