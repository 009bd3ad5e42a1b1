"""The themes that a user may choose."""

THEMES = ("auto", "dark", "light", "terminal", "mono")
"""`auto` follows the terminal's background."""
