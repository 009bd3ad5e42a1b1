"""The engine: a real `generate()` that can be suspended at every stage."""
