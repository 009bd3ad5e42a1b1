"""What the screen is asked to show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.debugger.persistence.model import SavedSession
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.models.spec import LoadProgress, ModelSpec


@dataclass(frozen=True)
class LaunchRequest:
    """What to debug, and the commands to begin with. Another kind of debuggee is another `open_debuggee`."""

    spec: ModelSpec
    prompt: str
    settings: GenerationSettings
    chat: bool = False
    """Whether the prompt goes through the model's chat template, after `system` if that is given."""
    system: str | None = None
    breakpoints: tuple[str, ...] = ()
    """Addresses, each with its condition."""
    commands: tuple[str, ...] = ()
    resumed: SavedSession | None = None
    """The saved session to take up, None to begin a new one."""
    left_pad: int = 0
    """How many masked pad tokens stand before the prompt."""
    tour: bool = False

    def open_debuggee(self, report: Callable[[LoadProgress], None]) -> Debuggee:
        """Load the model and prepare its generation. Raises LlmdbgError."""
        from llmdbg.frontends.opening import open_generation

        return open_generation(
            self.spec,
            self.prompt,
            self.settings,
            chat=self.chat,
            system=self.system,
            report=report,
            left_pad=self.left_pad,
        )
