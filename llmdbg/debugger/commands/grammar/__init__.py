"""Grammars of command arguments: parsed by `parse`, completed by `complete`, shown in `help` as `usage`.

A grammar is pure: no debugger, no file, no model. Here are the grammars that several files share; any other is beside
its commands.
"""
