"""`llmdbg run`, and `llmdbg.debug` and its like: programs of the user's own."""
