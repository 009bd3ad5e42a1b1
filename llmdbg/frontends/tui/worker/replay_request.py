"""A recording on the screen: nothing is loaded, and no session is saved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends.launch_request import LaunchRequest
from llmdbg.models.spec import ModelSpec

if TYPE_CHECKING:
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.frontends.prompts.early import PromptCallback
    from llmdbg.models.spec import LoadProgress
    from llmdbg.traces.reader import Trace


@dataclass(frozen=True)
class _ReplayRequest(LaunchRequest):
    """A request whose debuggee is a recording."""

    trace: Trace | None = None
    """The recording."""
    saves: bool = False
    """A replay is no session: the recording is there already."""

    def open_debuggee(
        self, report: Callable[[LoadProgress], None], on_prompt: PromptCallback | None = None
    ) -> Debuggee:
        """Read what the recording says of its tokens."""
        from llmdbg.frontends.opening import open_recording
        from llmdbg.models.load_steps import LoadStep
        from llmdbg.models.spec import LoadProgress

        report(LoadProgress(LoadStep.RUN, 0, None))
        assert self.trace is not None
        return open_recording(self.trace)


def replay_request(trace: Trace, breakpoints: tuple[str, ...], commands: tuple[str, ...]) -> LaunchRequest:
    """Ask for the screen over a recording, and for these breakpoints and commands to begin with."""
    return _ReplayRequest(
        ModelSpec(f"recording {trace.folder.name}"),
        "",
        GenerationSettings(),
        breakpoints=breakpoints,
        commands=commands,
        trace=trace,
    )
