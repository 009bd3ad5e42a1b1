"""What a step goes to."""

from enum import StrEnum


class Depth(StrEnum):
    """What a step goes to."""

    MODULE = "module"
    """The next module that completes."""
    LINE = "line"
    """The next line of the forwards' source."""
    OP = "op"
    """The next aten call."""
