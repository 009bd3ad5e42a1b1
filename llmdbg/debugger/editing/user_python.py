"""What the user's own Python sees in `edit` and `print`, and what is said when it fails."""

from __future__ import annotations

from llmdbg.formatting import listed

NAMES = ("out", "inputs", "torch", "model")
"""The names it sees, besides Python's own."""


def why(error: BaseException) -> str:
    """What an exception says, in one line; of a name that is not there, which names are."""
    if isinstance(error, SyntaxError):
        return not_python(error)
    if isinstance(error, NameError) and error.name:
        return f"there is no name {error.name!r} here: there are {listed(NAMES, 'and')}"
    return f"{type(error).__name__}: {_one_line(error)}"


def not_python(error: Exception) -> str:
    """What an exception says that was raised while compiling, in one line."""
    return f"this is not valid Python: {error.msg if isinstance(error, SyntaxError) else _one_line(error)}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or "no message"
