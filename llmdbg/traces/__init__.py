"""Recordings: what a run left in a folder, written while it runs and read without a model."""
