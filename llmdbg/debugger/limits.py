"""Limits of a session, enforced by commands and when a session file is read."""

MOST_BREAKPOINTS = 1000
"""Breakpoints, tracepoints and watches together."""
MOST_BRANCHES = 1000
"""Branches of a session."""
MOST_ADDRESS = 300
"""Characters of an address, as it was typed."""
MOST_LINES = 200
"""Edits of a branch, and commands of a breakpoint."""
MOST_LINE = 2000
"""Characters of each of those lines."""
MOST_RERUN_UNASKED = 1024
"""Positions of a forward that a pane may rerun by itself: a longer one is rerun only for a command."""
MOST_LEFT_PAD = 100_000
"""Pad tokens before a prompt."""
MOST_COMMANDS_BYTES = 2**20
"""Bytes of a file of commands."""
