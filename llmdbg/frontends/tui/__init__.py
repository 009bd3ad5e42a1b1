"""The screen: a Textual app over an engine thread. Panes are rows of text made from frozen snapshots."""
