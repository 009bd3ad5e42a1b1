"""`llmdbg run` with programs as their users write them."""
