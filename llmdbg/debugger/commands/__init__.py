"""The command language.

`-ex`, `-x`, the screen's command line, help and completion all look commands up here. Every file of this folder is
imported and adds its commands to the registry. A grammar of `grammar/` parses a command's arguments.
"""

import importlib
import pkgutil

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

__all__ = ["COMMANDS", "Answer", "Command", "Effect", "Moved", "Outcome", "ParsedCommand", "Quit", "Registry"]

_IN_HELP = (
    "running",
    "going_back",
    "stopping",
    "branching",
    "differing",
    "editing",
    "explaining",
    "inspecting",
    "examining",
    "framing",
    "referring",
    "saving",
    "recording",
    "sourcing",
)
"""The files whose commands help lists first, in this order; those of any other file come after them."""


def _import_all() -> None:
    found = {each.name for each in pkgutil.iter_modules(__path__)}
    for name in (*_IN_HELP, *sorted(found.difference(_IN_HELP))):
        importlib.import_module(f"{__name__}.{name}")


_import_all()
