"""One forward of a model that is run for a question, suspended at its stages as a run of its own."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmdbg.engine.stage_event import StageEvent
from llmdbg.engine.stops import Stops
from llmdbg.engine.suspension import Suspension
from llmdbg.errors import GenerationError, LlmdbgError
from llmdbg.formatting import printable
from llmdbg.models.stages import SAMPLE, TOKENIZE, Phase

if TYPE_CHECKING:
    from torch import nn

    from llmdbg.engine.token_overrides import TokenOverrides
    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.stages import Stage


@dataclass(slots=True)
class NoOverrides:
    """The timeline of a forward: it chooses no token, so what is forced has no effect."""

    overrides: dict[int, TokenOverrides] = field(default_factory=dict)


class OneForward:
    """`forward()` calls `model`, and is suspended at every armed stage in it; others may run beside it.

    `name` is what it is, for errors.
    """

    def __init__(self, name: str, model: nn.Module, anatomy: Anatomy, forward: Callable[[], Any]) -> None:
        self.anatomy = anatomy
        self.processors: tuple[Stage, ...] = ()
        self.timeline = NoOverrides()
        self.stops = Stops(model, anatomy, {each.device for each in model.parameters()})
        self.output: Any = None
        """What the model returned; None until then."""
        self._name = name
        self._forward = forward

    def events(self, token: int = 0) -> Generator[StageEvent, None, None]:
        """Yield `tokenize`, each stage where it is suspended, and `sample` at its end.

        Raises GenerationError if the forward fails.
        """
        yield StageEvent(TOKENIZE, Phase.PREFILL, 0, None)
        run: Suspension[StageEvent] = Suspension(self._to_its_end)
        self.stops.begin(run)
        try:
            while (event := run.resume()) is not None:
                yield event
            yield StageEvent(SAMPLE, Phase.PREFILL, 0, None)
        finally:
            run.close()
            self.stops.end()

    def _to_its_end(self) -> None:
        try:
            self.output = self._forward()
        except LlmdbgError:
            raise
        except Exception as error:
            said = printable(" ".join(str(error).split()))
            raise GenerationError(f"{self._name} cannot be run: {type(error).__name__}: {said}") from error
