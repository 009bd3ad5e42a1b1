"""How long a stage ran, without the time it was suspended."""

from __future__ import annotations

from collections.abc import Callable, Collection
from time import perf_counter
from typing import Any

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

    def pre_hook(self, address: str) -> Callable[..., None]:
        """`enter` for one address, as a forward pre-hook: it runs at every armed stage, so it is one flat function."""
        if self._gpus:
            return lambda _module, _args: self.enter(address)
        entered = self._entered

        def note(_module: Any, _args: Any) -> None:
            entered[address] = (perf_counter(), self._suspended_total)

        return note

    def suspend(self, address: str) -> float | None:
        """Stop counting at the end of a stage.

        Returns the milliseconds since it began, or None when its beginning was not seen. Waits for the device.
        """
        began = self._entered.pop(address, None)
        if not self._gpus:
            now = self._suspended_since = perf_counter()
            if began is None:
                return None
            return max(0.0, now - began[0] - (self._suspended_total - began[1])) * 1e3  # type: ignore[operator]
        milliseconds = None if began is None else self._device_milliseconds(*began)
        self._suspended_since = perf_counter()
        return milliseconds

    def resume(self) -> None:
        """Go on counting."""
        self._suspended_total += perf_counter() - self._suspended_since

    def _device_milliseconds(self, began: float | torch.cuda.Event, suspended: float) -> float:
        ended = self._now()
        assert isinstance(began, torch.cuda.Event)
        assert isinstance(ended, torch.cuda.Event)
        ended.synchronize()
        milliseconds: float = began.elapsed_time(ended)
        return max(0.0, milliseconds - (self._suspended_total - suspended) * 1e3)

    def _now(self) -> float | torch.cuda.Event:
        if not self._gpus:
            return perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._gpus[0]))
        return event
