"""Generation settings: what the user asked for, under generate()'s own names."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llmdbg.errors import SettingsError
from llmdbg.formatting import listed

_END = 2**31


@dataclass(frozen=True)
class SettingFields:
    """What can be set. None leaves a setting to the model's own generation config, as `generate()` does."""

    # So that a class with slots of its own can be one of these as well.
    __slots__ = ()

    max_new_tokens: int | None = None
    """The most tokens to generate, from 1 to 2**31 - 1."""
    greedy: bool = False
    """Take the likeliest token every time. Excludes temperature, top_k, top_p and min_p."""
    temperature: float | None = None
    """Divide the logits by this, and sample; finite and greater than 0."""
    top_k: int | None = None
    """Sample among the `top_k` likeliest tokens only, from 0 to 2**31 - 1; 0 for all."""
    top_p: float | None = None
    """Sample among the likeliest tokens whose probabilities sum to `top_p`, from 0 to 1; 1 for all."""
    min_p: float | None = None
    """Sample among tokens at least `min_p` times as likely as the likeliest, from 0 to 1."""
    repetition_penalty: float | None = None
    """Make tokens that have occurred less likely if greater than 1; finite and greater than 0."""
    seed: int = 0
    """Seeds torch's, NumPy's and Python's random generators before generating; from 0 to 2**32 - 1."""


@dataclass(frozen=True, slots=True)
class GenerationSettings(SettingFields):
    """Arguments for `generate()`.

    Any of temperature, top-k, top-p and min-p turns `do_sample` on; `greedy` turns it off. NaN and infinity are
    refused: neither does anything that a finite value cannot do, and a saved session could not hold them.
    """

    def __post_init__(self) -> None:
        """Raise SettingsError, which names a setting as it is named here, for a value that cannot be."""
        if self.temperature == 0:
            raise SettingsError("temperature 0 means no sampling: use greedy instead")
        for name, (holds, wanted) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not holds(value):
                raise SettingsError(f"{name} must be {wanted}, not {value}")
        if self.greedy and (sampling := self.sampling_names()):
            raise SettingsError(
                f"greedy takes the likeliest token, so it cannot go with {listed(sampling)}: drop one of them"
            )

    def sampling_names(self) -> tuple[str, ...]:
        """The names of the given settings that only make sense when sampling."""
        return tuple(name for name in SAMPLING_NAMES if getattr(self, name) is not None)

    def generate_arguments(self) -> dict[str, Any]:
        """The keyword arguments for `generate()`: only those given, so that its own defaults apply to the rest."""
        whole, real = ("max_new_tokens", "top_k"), ("temperature", "top_p", "min_p", "repetition_penalty")
        arguments = {name: value for name in whole if (value := getattr(self, name)) is not None}
        # generate() refuses an int where it expects a float.
        arguments |= {name: float(value) for name in real if (value := getattr(self, name)) is not None}
        if self.greedy:
            arguments["do_sample"] = False
        elif self.sampling_names():
            arguments["do_sample"] = True
        return arguments


SAMPLING_NAMES = ("temperature", "top_k", "top_p", "min_p")
"""The settings that turn sampling on, and that `greedy` excludes."""


def _is_share(value: float) -> bool:
    return 0 <= value <= 1


def _is_factor(value: float) -> bool:
    return 0 < value < math.inf


# Every test is false for NaN, which compares as less and as greater than nothing.
_RANGES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "max_new_tokens": (lambda value: 1 <= value < _END, f"from 1 to {_END - 1}"),
    "temperature": (_is_factor, "a finite number greater than 0"),
    "top_k": (lambda value: 0 <= value < _END, f"from 1 to {_END - 1}, or 0 for all tokens"),
    "top_p": (_is_share, "from 0 to 1, which keeps all tokens"),
    "min_p": (_is_share, "from 0 to 1"),
    "repetition_penalty": (_is_factor, "a finite number greater than 0"),
    "seed": (lambda value: 0 <= value < 2**32, f"from 0 to {2**32 - 1}"),
}
"""What each setting's value must be: a test of it, and in words."""
