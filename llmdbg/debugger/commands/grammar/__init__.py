"""What may follow each command's name: read by `parse`, offered by `complete`, and written in `help` as `usage`.

A grammar is pure: no debugger, no file, no model. A command that takes something new gets a new class in the file of
its kind; nothing else has to know of it.
"""
