"""The command language.

`-ex`, `-x`, the screen's command line, help and completion all look commands up here. Each file of this folder adds its
commands to the registry; help lists them in the order of these imports. A grammar of `grammar/` parses a command's
arguments.
"""

from llmdbg.debugger.commands import running, going_back, stopping, branching, editing  # isort: skip
from llmdbg.debugger.commands import explaining, inspecting, examining, saving, sourcing  # isort: skip
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
    "sourcing",
    "stopping",
]
