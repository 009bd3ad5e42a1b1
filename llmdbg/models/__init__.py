"""From what the user typed to a loaded model, its tokens and its stages."""
