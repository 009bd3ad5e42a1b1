"""A user's own program: a session without a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends.export import export
from llmdbg.frontends.opening import open_generation
from llmdbg.models.spec import ModelSpec

if TYPE_CHECKING:
    from llmdbg.debugger.commands import Outcome
    from llmdbg.debugger.execution.stop import End, Stop, TokenRow
    from llmdbg.models.spec import LoadProgress


class Session:
    """A debugging session of a user's own program. Every command of the debugger is `do(line)`.

    `debugger` are the parts behind it, for what no command says.
    """

    def __init__(self, debugger: Debugger) -> None:
        self.debugger = debugger

    @property
    def stop(self) -> Stop:
        """Where the run stands."""
        return self.debugger.stop

    @property
    def end(self) -> End | None:
        """How the generation ended, None while it has not."""
        return self.debugger.end

    def tokens(self) -> tuple[TokenRow, ...]:
        """The whole sequence so far: prompt and generated tokens."""
        return self.debugger.run.tokens()

    def do(self, line: str) -> Outcome:
        """Run one command line, as `-ex` and the screen's command line do. Raises LlmdbgError."""
        return COMMANDS.run(self.debugger, line)

    def close(self) -> End:
        """Give the model back as it was. Returns how the generation ended, or was left."""
        return self.debugger.close()


def open_session(
    model: str | None,
    prompt: str,
    *,
    chat: bool = False,
    system: str | None = None,
    left_pad: int = 0,
    spec: dict[str, Any] | None = None,
    **settings: Any,
) -> Session:
    """Load a model and stand at the first stage of a generation.

    `model` is what the program takes (a Hub name, a folder, a `.gguf` file, `smollm2`), `left_pad` how many masked pad
    tokens stand before the prompt, as in a batch with a longer one, `spec` more of how to load it
    (`dtype`, `device`, `attn`, …), and the rest are `GenerationSettings`. Raises LlmdbgError.
    """
    debuggee = open_generation(
        ModelSpec(model, **(spec or {})),
        prompt,
        GenerationSettings(**settings),
        chat=chat,
        system=system,
        report=_nobody,
        left_pad=left_pad,
    )
    debugger = Debugger(debuggee)
    debugger.exporter = export
    return Session(debugger)


def _nobody(_progress: LoadProgress) -> None:
    """Nobody watches it load."""
