"""How long a stage ran, without the time it was suspended."""

from __future__ import annotations

import time
from collections.abc import Collection

import torch


class StageClock:
    """Measures stages in milliseconds of model time: the clock stands still while the engine is suspended.

    On CUDA the device runs behind the host, so a stage's beginning is an event in the device's own queue: noting it
    waits for nothing, and only a stage that is suspended at is waited for. Over several GPUs there is no common clock,
    and nothing is measured.
    """

    def __init__(self, devices: Collection[torch.device]) -> None:
        self._gpus = [device for device in devices if device.type == "cuda"]
        self._suspended_total = 0.0
        self._suspended_since = 0.0
        self._entered: dict[str, tuple[float | torch.cuda.Event, float]] = {}

    def enter(self, address: str) -> None:
        """Note that a stage begins."""
        if len(self._gpus) <= 1:
            self._entered[address] = (self._now(), self._suspended_total)

    def leave(self, address: str) -> float | None:
        """Milliseconds since the stage began, or None when its beginning was not seen. Waits for the device."""
        if address not in self._entered:
            return None
        began, suspended = self._entered.pop(address)
        ended = self._now()
        if isinstance(began, float) and isinstance(ended, float):
            milliseconds = (ended - began) * 1e3
        else:
            assert isinstance(began, torch.cuda.Event)
            assert isinstance(ended, torch.cuda.Event)
            ended.synchronize()
            milliseconds = began.elapsed_time(ended)
        return max(0.0, milliseconds - (self._suspended_total - suspended) * 1e3)

    def suspend(self) -> None:
        """Stop counting."""
        self._suspended_since = time.perf_counter()

    def resume(self) -> None:
        """Go on counting."""
        self._suspended_total += time.perf_counter() - self._suspended_since

    def _now(self) -> float | torch.cuda.Event:
        if not self._gpus:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._gpus[0]))
        return event
