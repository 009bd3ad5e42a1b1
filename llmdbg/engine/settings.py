"""How to generate: what the user asked for, in generate()'s own words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmdbg.errors import SettingsError

_MOST = 2**31


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """Arguments for `generate()`. None leaves a setting to the model's own generation config, as `generate()` does.

    `do_sample` is switched on by any of temperature, top-k, top-p and min-p, and off by greedy.
    """

    max_new_tokens: int | None = None
    greedy: bool = False
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise SettingsError for a value `generate()` cannot take; those it takes for `off` are that here."""
        for name in ("max_new_tokens", "top_k"):
            self._require((getattr(self, name) or 0) < _MOST, name.replace("_", "-"), f"less than {_MOST}")
        self._require(self.max_new_tokens is None or self.max_new_tokens >= 1, "max-new-tokens", "at least 1")
        if self.temperature == 0:
            raise SettingsError("temperature 0 means no sampling: use --greedy instead")
        self._require(self.temperature is None or self.temperature > 0, "temperature", "greater than 0")
        self._require(self.top_k is None or self.top_k >= 0, "top-k", "at least 1, or 0 for all tokens")
        self._require(self.top_p is None or self.top_p >= 0, "top-p", "from 0 to 1 (1 and more mean all tokens)")
        self._require(self.min_p is None or 0 <= self.min_p <= 1, "min-p", "from 0 to 1")
        penalty = self.repetition_penalty
        self._require(penalty is None or penalty > 0, "repetition-penalty", "greater than 0")
        self._require(0 <= self.seed < 2**32, "seed", f"from 0 to {2**32 - 1}")
        if self.greedy and self.sampling_names():
            names = " and ".join(f"--{name}" for name in self.sampling_names())
            raise SettingsError(f"--greedy takes the likeliest token, so it cannot go with {names}: drop one of them")

    def _require(self, holds: bool, name: str, wanted: str) -> None:
        if not holds:
            raise SettingsError(f"{name} must be {wanted}, not {getattr(self, name.replace('-', '_'))}")

    def sampling_names(self) -> tuple[str, ...]:
        """The options given that only make sense when sampling."""
        given = {"temperature": self.temperature, "top-k": self.top_k, "top-p": self.top_p, "min-p": self.min_p}
        return tuple(name for name, value in given.items() if value is not None)

    def generate_arguments(self) -> dict[str, Any]:
        """The keyword arguments for `generate()`: only what was asked for, so that its own defaults hold."""
        whole, real = ("max_new_tokens", "top_k"), ("temperature", "top_p", "min_p", "repetition_penalty")
        arguments = {name: value for name in whole if (value := getattr(self, name)) is not None}
        # It refuses a whole number where it wants a real one.
        arguments |= {name: float(value) for name in real if (value := getattr(self, name)) is not None}
        if self.greedy:
            arguments["do_sample"] = False
        elif self.sampling_names():
            arguments["do_sample"] = True
        return arguments
