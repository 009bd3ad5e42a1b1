"""Batch mode: commands in, text or JSON Lines out."""
