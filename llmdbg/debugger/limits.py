"""How much a session holds: what a command refuses to go beyond, and a session file does not bring back."""

MOST_BREAKPOINTS = 1000
MOST_LINES = 200
"""Edits of a branch, and commands of a breakpoint."""
MOST_LINE = 2000
"""Characters of each."""
MOST_LEFT_PAD = 100_000
"""Pad tokens before a prompt."""
