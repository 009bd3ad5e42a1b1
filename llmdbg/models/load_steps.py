"""The steps of a start, in their order, and how far a start has come."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from llmdbg.models.spec import LoadProgress


class LoadStep(StrEnum):
    """A step of a start, in words that follow `while`. A progress report with one as its stage begins the step."""

    LIBRARIES = "starting Python libraries"
    MODEL = "looking for the model"
    TOKENIZER = "reading the tokenizer"
    WEIGHTS = "loading the weights"
    RUN = "preparing the run"


@dataclass(frozen=True, slots=True)
class StepsTaken:
    """How far a start has come."""

    present: LoadStep = LoadStep.LIBRARIES
    """The step that is being taken, or that failed."""
    done: tuple[tuple[LoadStep, float], ...] = ()
    """The steps that are done, each with the seconds it took."""
    progress: LoadProgress | None = None
    """What the present step has reported about itself; None for nothing."""

    @property
    def to_come(self) -> tuple[LoadStep, ...]:
        """The steps after the present one."""
        every = tuple(LoadStep)
        return every[every.index(self.present) + 1 :]


class StepTimer:
    """Turns progress reports into steps, and times each from one report of a step to the next."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        """The first step begins now. `clock` counts seconds."""
        self._clock = clock
        self._began = clock()
        self.taken = StepsTaken()

    def note(self, progress: LoadProgress) -> StepsTaken:
        """Take in a report. Returns how far the start has come."""
        taken = self.taken
        if isinstance(progress.stage, LoadStep) and progress.stage is not taken.present:
            now = self._clock()
            done = (*taken.done, (taken.present, now - self._began))
            self._began = now
            self.taken = StepsTaken(progress.stage, done)
        elif progress.total or not isinstance(progress.stage, LoadStep):
            self.taken = replace(taken, progress=progress)
        return self.taken
