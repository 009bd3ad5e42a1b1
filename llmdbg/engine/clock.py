"""How long a stage ran, without the time it was suspended."""

from __future__ import annotations

import time

import torch


class StageClock:
    """Measures stages in milliseconds of model time: the clock stands still while the engine is suspended.

    On CUDA the device runs behind the host, so each reading waits for it; only stages that stop are read.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device if device.type == "cuda" else None
        self._suspended_total = 0.0
        self._suspended_since = 0.0
        self._entered: dict[str, float] = {}

    def enter(self, address: str) -> None:
        """Note that a stage begins."""
        self._entered[address] = self._now()

    def leave(self, address: str) -> float | None:
        """Milliseconds since the stage began, or None when its beginning was not seen."""
        entered = self._entered.pop(address, None)
        return None if entered is None else (self._now() - entered) * 1e3

    def suspend(self) -> None:
        """Stop counting."""
        self._suspended_since = time.perf_counter()

    def resume(self) -> None:
        """Go on counting."""
        self._suspended_total += time.perf_counter() - self._suspended_since

    def _now(self) -> float:
        if self._device is not None:
            torch.cuda.synchronize(self._device)
        return time.perf_counter() - self._suspended_total
