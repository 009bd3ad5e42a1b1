"""The screen: a Textual app with an engine thread. Panes are rows of text made from frozen snapshots."""
