"""Dumps of other tools, converted into recordings: a file for each tool, and a registry that tells them by content."""
