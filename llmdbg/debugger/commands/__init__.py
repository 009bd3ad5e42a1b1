"""The command language: every command, once.

Front ends look commands up here and nowhere else: `-ex`, `-x`, the command line of the screen, help and completion.
Each file of this folder adds its commands to the registry; help lists them in the order of these imports. What a
command takes is a grammar of `grammar/`.
"""

from llmdbg.debugger.commands import running, going_back, stopping, branching, editing  # isort: skip
from llmdbg.debugger.commands import explaining, inspecting, examining, saving  # isort: skip
from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.registry import (
    COMMANDS,
    Answer,
    Command,
    Moved,
    Outcome,
    ParsedCommand,
    Quit,
    Registry,
)

__all__ = [
    "COMMANDS",
    "Answer",
    "Command",
    "Effect",
    "Moved",
    "Outcome",
    "ParsedCommand",
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
    "stopping",
]
