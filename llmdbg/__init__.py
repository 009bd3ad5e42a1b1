"""llmdbg: a debugger for language models.

    >>> import llmdbg
    >>> session = llmdbg.open_session("smollm2", "Can you write an email?", chat=True, max_new_tokens=40)
    >>> session.do("break 12 if norm > 100")
    >>> session.do("continue")
    >>> session.stop.stage.address, session.stop.token

`Session.do` takes every command of the program; what it answers is a `Moved`, an `Answer` or a `Quit`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from llmdbg.version import __version__ as __version__

if TYPE_CHECKING:
    from llmdbg.debugger.commands import Answer as Answer
    from llmdbg.debugger.commands import Moved as Moved
    from llmdbg.debugger.commands import Quit as Quit
    from llmdbg.errors import LlmdbgError as LlmdbgError
    from llmdbg.frontends.script import Session as Session
    from llmdbg.frontends.script import open_session as open_session

_WHERE = {
    "Answer": "llmdbg.debugger.commands",
    "LlmdbgError": "llmdbg.errors",
    "Moved": "llmdbg.debugger.commands",
    "Quit": "llmdbg.debugger.commands",
    "Session": "llmdbg.frontends.script",
    "open_session": "llmdbg.frontends.script",
}

__all__ = ["Answer", "LlmdbgError", "Moved", "Quit", "Session", "__version__", "open_session"]


def __getattr__(name: str) -> Any:
    # Imported when asked for: `llmdbg --help` needs none of it, and torch takes a second.
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'llmdbg' has no attribute {name!r}")
