"""Generation settings: what the user asked for, under generate()'s own names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llmdbg.errors import SettingsError

_MOST = 2**31


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """Arguments for `generate()`. None leaves a setting to the model's own generation config, as `generate()` does.

    Any of temperature, top-k, top-p and min-p turns `do_sample` on; `greedy` turns it off.
    """

    max_new_tokens: int | None = None
    """The most tokens to generate, at least 1."""
    greedy: bool = False
    """Take the likeliest token every time. Excludes temperature, top-k, top-p and min-p."""
    temperature: float | None = None
    """Divides the logits; greater than 0."""
    top_k: int | None = None
    """Sample among the `top_k` likeliest tokens only; 0 for all."""
    top_p: float | None = None
    """Sample among the likeliest tokens whose probabilities sum to `top_p`; 1 or more for all."""
    min_p: float | None = None
    """Sample among tokens at least `min_p` times as likely as the likeliest; from 0 to 1."""
    repetition_penalty: float | None = None
    """Makes tokens that have occurred less likely if greater than 1; greater than 0."""
    seed: int = 0
    """Seeds torch's, NumPy's and Python's random generators before generating; from 0 to 2**32 - 1."""

    def __post_init__(self) -> None:
        """Raise SettingsError for a value that `generate()` cannot take."""
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
        """The given options that only make sense when sampling, as written on the command line."""
        given = {"temperature": self.temperature, "top-k": self.top_k, "top-p": self.top_p, "min-p": self.min_p}
        return tuple(name for name, value in given.items() if value is not None)

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
