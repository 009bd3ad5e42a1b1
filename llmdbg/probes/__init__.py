"""One question to a tensor each, answered as a small frozen value."""
