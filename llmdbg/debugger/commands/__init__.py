"""The command language: every command, once.

Front ends look commands up here and nowhere else: `-ex`, `-x`, the command line of the screen, help and completion.
Each file of this folder adds its commands to the registry; help lists them in the order of these imports.
"""

from llmdbg.debugger.commands import running, going_back, stopping, branching, editing  # isort: skip
from llmdbg.debugger.commands import explaining, examining, saving  # isort: skip
from llmdbg.debugger.commands import inspecting  # isort: skip
from llmdbg.debugger.commands.registry import (
    COMMANDS,
    Answer,
    Argument,
    Command,
    Moved,
    Outcome,
    Quit,
    Registry,
    split_condition,
)

__all__ = [
    "COMMANDS",
    "Answer",
    "Argument",
    "Command",
    "Moved",
    "Outcome",
    "Quit",
    "Registry",
    "branching",
    "editing",
    "examining",
    "explaining",
    "going_back",
    "inspecting",
    "running",
    "saving",
    "split_condition",
    "stopping",
]
