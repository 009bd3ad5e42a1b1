"""What a front end with a saved session should debug, and what to begin with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.debugger.persistence.model import SavedSession
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.frontends.prompts.early import PromptCallback
    from llmdbg.frontends.ranks import Ranks
    from llmdbg.frontends.typed_lines import TypedLines
    from llmdbg.models.spec import LoadProgress, ModelSpec


@dataclass(frozen=True)
class LaunchRequest:
    """What to debug, and the commands to begin with. Another kind of debuggee overrides `open_debuggee`."""

    spec: ModelSpec
    """Which model, and how to load it."""
    prompt: str
    """The prompt's text."""
    settings: GenerationSettings
    """How tokens are chosen."""
    chat: bool = False
    """Whether to apply the model's chat template."""
    system: str | None = None
    """The chat template's system message; None for none."""
    breakpoints: tuple[str, ...] = ()
    """Breakpoints to set, as `break` takes them: `12 if norm > 100`."""
    commands: tuple[str, ...] = ()
    """Command lines to run first."""
    resumed: SavedSession | None = None
    """The saved session to resume; None for a new one."""
    left_pad: int = 0
    """How many masked pad tokens to put before the prompt."""
    tour: str = ""
    """The route of the tour to begin; empty for no tour."""
    saves: bool = True
    """Whether the session is saved."""
    on_saved: Callable[[], object] | None = None
    """Told whenever the session has been saved."""
    ranks: Ranks | None = None
    """The ranks of a torchrun, if this process is one of several."""
    typed: TypedLines | None = None
    """What is typed for the debuggee's stdin; None if it reads none."""
    in_main_thread: bool = False
    """Whether the debuggee must run in Python's main thread; the screen runs in another then."""

    def is_running_here(self) -> bool:
        """Whether the calling code is the debuggee's, not the debugger's."""
        return False

    def first_session(self) -> SavedSession:
        """The session to save first: the one that is resumed, or a new one."""
        from llmdbg.debugger.persistence.model import begin

        return self.resumed or begin(
            self.spec, self.prompt, self.settings, chat=self.chat, system=self.system, left_pad=self.left_pad
        )

    def open_debuggee(
        self, report: Callable[[LoadProgress], None], on_prompt: PromptCallback | None = None
    ) -> Debuggee:
        """Load the model and prepare its generation. Raises LlmdbgError.

        `on_prompt` gets the prompt's first tokens, and how many there are, as soon as they are known; None if nobody
        waits for them.
        """
        from llmdbg.frontends.opening import open_generation

        return open_generation(
            self.spec,
            self.prompt,
            self.settings,
            chat=self.chat,
            system=self.system,
            report=report,
            left_pad=self.left_pad,
            on_prompt=on_prompt,
            ranks=self.ranks,
        )
