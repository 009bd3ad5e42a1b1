"""Headless: text and JSON Lines."""
