"""Programs that know nothing of llmdbg."""
