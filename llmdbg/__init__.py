"""llmdbg: a debugger for language models.

    >>> import llmdbg
    >>> with llmdbg.open_session("smollm2", "Can you write an email?", chat=True, max_new_tokens=40) as session:
    ...     session.do("break 12 if norm > 100")
    ...     session.do("continue")
    ...     print(session.stop)

- `open_session` loads a model, or takes one that is loaded with its tokenizer, and stands at the first stage.
- `Session.do` takes every command of the program. What comes of it is a `Moved` to a `Stop`, an `Answer` or a `Quit`.
- `Recorder` records the forwards of a model in a program of your own, into a folder that `llmdbg diff` compares.
- `Session.end` is the `End`: how the generation ended, with its ids and text.
- `with debug(model):`, `attach` and `breakpoint` stop in the forwards of your own program, at a prompt as pdb's.
- `compare` holds two runs against each other, as `llmdbg diff` does; what comes of it is a `Comparison`.
- Whatever is raised on purpose is an `LlmdbgError`, in one line; its kinds are in `llmdbg.errors`.

All of these show themselves in a REPL and in a notebook.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from llmdbg.version import __version__ as __version__

if TYPE_CHECKING:
    from llmdbg.debugger.commands import Answer as Answer
    from llmdbg.debugger.commands import Moved as Moved
    from llmdbg.debugger.commands import Outcome as Outcome
    from llmdbg.debugger.commands import Quit as Quit
    from llmdbg.debugger.comparison.outcome import Comparison as Comparison
    from llmdbg.debugger.execution.stop import End as End
    from llmdbg.debugger.execution.stop import Stop as Stop
    from llmdbg.errors import LlmdbgError as LlmdbgError
    from llmdbg.frontends.program.attaching import attach as attach
    from llmdbg.frontends.program.attaching import breakpoint as breakpoint
    from llmdbg.frontends.program.attaching import debug as debug
    from llmdbg.frontends.script.comparing import compare as compare
    from llmdbg.frontends.script.opening import open_session as open_session
    from llmdbg.frontends.script.session import Session as Session
    from llmdbg.traces.recorder import Recorder as Recorder

_WHERE = {
    "Answer": "llmdbg.debugger.commands",
    "Comparison": "llmdbg.debugger.comparison.outcome",
    "End": "llmdbg.debugger.execution.stop",
    "LlmdbgError": "llmdbg.errors",
    "Moved": "llmdbg.debugger.commands",
    "Outcome": "llmdbg.debugger.commands",
    "Quit": "llmdbg.debugger.commands",
    "Recorder": "llmdbg.traces.recorder",
    "Session": "llmdbg.frontends.script.session",
    "Stop": "llmdbg.debugger.execution.stop",
    "attach": "llmdbg.frontends.program.attaching",
    "breakpoint": "llmdbg.frontends.program.attaching",
    "compare": "llmdbg.frontends.script.comparing",
    "debug": "llmdbg.frontends.program.attaching",
    "open_session": "llmdbg.frontends.script.opening",
}

__all__ = [
    "Answer",
    "Comparison",
    "End",
    "LlmdbgError",
    "Moved",
    "Outcome",
    "Quit",
    "Recorder",
    "Session",
    "Stop",
    "__version__",
    "attach",
    "breakpoint",
    "compare",
    "debug",
    "open_session",
]


def __getattr__(name: str) -> object:
    # Imported when asked for: `llmdbg --help` needs none of it, and torch takes a second.
    if name in _WHERE:
        found: object = getattr(import_module(_WHERE[name]), name)
        return found
    raise AttributeError(f"module 'llmdbg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted((*globals(), *_WHERE))
