"""The prompt as tokens, before there is anything that runs."""
