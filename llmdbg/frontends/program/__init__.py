"""`llmdbg run`: a program of the user's own, without a screen."""
