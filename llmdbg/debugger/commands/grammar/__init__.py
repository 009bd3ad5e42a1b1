"""What may follow a command's name: read by `parse`, offered by `complete`, and written in `help` as `usage`.

A grammar is pure: no debugger, no file, no model. Here are those that several commands share; one that a single subject
has is in the subject's file, beside its commands.
"""
