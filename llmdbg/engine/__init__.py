"""The engine: a real `generate()` that stands still at every stage."""
