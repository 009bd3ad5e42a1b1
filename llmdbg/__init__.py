"""llmdbg: a debugger for language models."""

__version__ = "0.1.0"
