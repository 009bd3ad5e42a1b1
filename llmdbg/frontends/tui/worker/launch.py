"""What the screen is asked to show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.debugger.persistence.model import SavedSession
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.models.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """The model, the prompt, how to generate, and the commands to begin with."""

    spec: ModelSpec
    prompt: str
    settings: GenerationSettings
    chat: bool = False
    system: str | None = None
    breakpoints: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    resumed: SavedSession | None = None
    left_pad: int = 0
    tour: bool = False
