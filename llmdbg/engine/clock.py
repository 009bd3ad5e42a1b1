"""How long a stage ran, without the time it was suspended."""

from __future__ import annotations

from collections.abc import Callable, Collection
from time import perf_counter
from typing import Any

import torch


class StageClock:
    """Measures stages in milliseconds of model time: the clock is paused while the engine is suspended.

    CUDA runs asynchronously, so the start of a stage is recorded as an event in the device's stream: recording does not
    synchronize, and only a suspension waits for the device. Several GPUs have no common clock, so nothing is measured.
    """

    def __init__(self, devices: Collection[torch.device]) -> None:
        self._gpus = [device for device in devices if device.type == "cuda"]
        self._suspended_total = 0.0
        self._suspended_since = 0.0
        self._token_began = 0.0
        # Host time minus the time suspended until then; on a GPU, an event, that suspended time and that difference.
        self._entered: dict[str, float] = {}
        self._queued: dict[str, tuple[torch.cuda.Event, float, float]] = {}

    def enter(self, address: str) -> None:
        """Note the start of a stage."""
        if self._suspended_since:
            return  # a forward that is not the run's
        if not self._gpus:
            self._entered[address] = perf_counter() - self._suspended_total
        elif len(self._gpus) == 1:
            self._queued[address] = (self._event(), self._suspended_total, perf_counter() - self._suspended_total)

    def pre_hook(self, address: str) -> Callable[..., None]:
        """`enter` for one address, as a forward pre-hook: it runs at every armed stage, so it is one flat function."""
        if self._gpus:
            return lambda _module, _args: self.enter(address)
        entered = self._entered

        def note(_module: Any, _args: Any) -> None:
            if not self._suspended_since:
                entered[address] = perf_counter() - self._suspended_total

        return note

    def elapsed(self, address: str) -> float | None:
        """Milliseconds since a stage began, None if its start was not seen. Keeps counting; waits for the device."""
        if self._gpus:
            queued = self._queued.get(address)
            return None if queued is None else self._device_milliseconds(*queued[:2])
        began = self._entered.get(address)
        return None if began is None else (perf_counter() - self._suspended_total - began) * 1e3

    def began(self, address: str) -> bool:
        """Whether a stage at which nothing was suspended was seen to begin while the current token was produced."""
        queued = self._queued.get(address)
        began = self._entered.get(address) if queued is None else queued[2]
        return began is not None and began >= self._token_began

    def suspend(self, address: str) -> float | None:
        """Pause at the end of a stage.

        Returns the milliseconds since it began, None if its start was not seen. Waits for the device.
        """
        if self._gpus:
            queued = self._queued.pop(address, None)
            milliseconds = None if queued is None else self._device_milliseconds(*queued[:2])
            self._suspended_since = perf_counter()
            return milliseconds
        began = self._entered.pop(address, None)
        now = self._suspended_since = perf_counter()
        return None if began is None else (now - self._suspended_total - began) * 1e3

    def lap(self, address: str) -> Callable[[], float | None]:
        """Note the end of a stage without waiting for the device.

        Returns a function that waits for the device and returns the stage's milliseconds, None if not measured.
        """
        if self._gpus:
            queued = self._queued.pop(address, None)
            return (lambda: None) if queued is None else self._device_lap(*queued[:2])
        began = self._entered.pop(address, None)
        milliseconds = None if began is None else (perf_counter() - self._suspended_total - began) * 1e3
        return lambda: milliseconds

    def begin_token(self) -> None:
        """Note the start of a token's forward, on the host's clock: choosing a token waits for the device anyway."""
        self._suspended_since = 0.0
        self._token_began = perf_counter() - self._suspended_total

    def token_milliseconds(self) -> float:
        """Milliseconds from the start of the current token's forward to now, or to the suspension."""
        now = self._suspended_since or perf_counter()
        return (now - self._suspended_total - self._token_began) * 1e3

    def resume(self) -> None:
        """Resume counting."""
        self._suspended_total += perf_counter() - self._suspended_since
        self._suspended_since = 0.0

    def _device_milliseconds(self, began: torch.cuda.Event, suspended: float) -> float:
        ended = self._event()
        ended.synchronize()
        milliseconds: float = began.elapsed_time(ended)
        return max(0.0, milliseconds - (self._suspended_total - suspended) * 1e3)

    def _device_lap(self, began: torch.cuda.Event, suspended: float) -> Callable[[], float | None]:
        ended, meanwhile = self._event(), (self._suspended_total - suspended) * 1e3

        def milliseconds() -> float:
            ended.synchronize()
            return max(0.0, float(began.elapsed_time(ended)) - meanwhile)

        return milliseconds

    def _event(self) -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._gpus[0]))
        return event
