"""The debugger: running, breakpoints, edits, inspection, commands and saved sessions, over any debuggee."""
