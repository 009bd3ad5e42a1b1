"""How tokens are chosen at a stop, and how they would be under other settings, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.probes.candidates import Candidates
    from llmdbg.probes.sampling_choice import SamplingChoice


@dataclass(frozen=True, slots=True)
class SamplingPreview:
    """The distribution under the settings that are wanted."""

    wanted: SamplingChoice
    """Those settings."""
    found: Candidates
    """The likeliest tokens there, with their scores from the logits on."""
    now: tuple[float, ...]
    """The probability of each of its rows at this stop, from 0 to 1."""
    notes: tuple[str, ...]
    """What is left out, a clause each."""


@dataclass(frozen=True, slots=True)
class SamplingView:
    """How the next token is chosen, and how it would be."""

    now: SamplingChoice
    """The settings in force, which a greedy choice makes no use of."""
    samples: bool
    """Whether tokens are drawn, rather than the likeliest taken."""
    preview: SamplingPreview | None = None
    """The distribution under other settings; None if none were asked for."""
