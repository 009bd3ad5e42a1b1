"""The tokens of one request, and what is known of each: going back runs the request again with those it had."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from llmdbg.engine.fingerprints import fingerprint_of
from llmdbg.engine.token_overrides import TokenOverrides

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.settings import GenerationSettings


@dataclass(slots=True)
class RequestTimeline:
    """One timeline of a `VllmRequest`: no state is kept but its tokens, since vLLM's blocks belong to vLLM."""

    settings: tuple[tuple[int, GenerationSettings], ...]
    """The settings and the token from which each applies; the first from token 0."""
    ids: list[int] = field(default_factory=list)
    """The generated ids; after going back, those beyond the current stop too."""
    overrides: dict[int, TokenOverrides] = field(default_factory=dict)
    """Forced and banned tokens, by generated token."""
    _fingerprints: list[Tensor] = field(default_factory=list)
    _finite: list[Tensor] = field(default_factory=list)
    _differing: list[tuple[int, Tensor | bool]] = field(default_factory=list)

    def settings_at(self, token: int) -> GenerationSettings:
        """The settings in effect while `token` is produced."""
        return next(settings for since, settings in reversed(self.settings) if since <= token)

    def next_change(self, token: int) -> int | None:
        """The first token after `token` where the settings change; None if they do not."""
        return min((since for since, _ in self.settings if since > token), default=None)

    def fork(self, token: int) -> RequestTimeline:
        """A timeline that shares everything before `token`'s forward."""
        other = RequestTimeline(self.settings, self.ids[:token])
        other.overrides = {at: overrides for at, overrides in self.overrides.items() if at < token}
        other._fingerprints, other._finite = self._fingerprints[:token], self._finite[:token]
        return other

    def saw(self, token: int, logits: Tensor) -> None:
        """Note the raw `logits` (1, vocabulary) of a token, or compare them with its first run's."""
        fingerprint = fingerprint_of(logits)
        if token < len(self._fingerprints):
            self._differing.append((token, self._fingerprints[token] != fingerprint))
        elif token == len(self._fingerprints):
            self._fingerprints.append(fingerprint)
            self._finite.append(torch.isfinite(logits.amax()))

    def took(self, token: int, id: int) -> None:
        """Note that `id` was chosen as generated token `token`."""
        if token < len(self.ids) and self.ids[token] != id:
            self._differing.append((token, True))
            del self.ids[token:], self._fingerprints[token + 1 :], self._finite[token + 1 :]
        if token == len(self.ids):
            self.ids.append(id)

    def differing(self) -> tuple[int, ...]:
        """The tokens that came out differently when rerun, since the last call. Waits for the device."""
        found, self._differing = self._differing, []
        return tuple(token for token, differs in found if bool(differs))

    def fingerprints(self) -> dict[int, int]:
        """A hash of the bits of the raw logits, by generated token, for each that was chosen. Waits for the device."""
        return {token: int(each) for token, each in enumerate(self._fingerprints[: len(self.ids)])}

    def not_finite_since(self) -> int | None:
        """The first chosen token whose raw logits gave no probabilities. Waits for the device."""
        chosen = self._finite[: len(self.ids)]
        return next((token for token, finite in enumerate(chosen) if not bool(finite)), None)

    @property
    def bytes(self) -> int:
        """A hash for each token."""
        return 8 * len(self._fingerprints)
