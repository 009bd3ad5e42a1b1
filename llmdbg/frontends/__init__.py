"""The front ends: a screen, batch mode, and Python programs."""
