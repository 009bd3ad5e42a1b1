"""What a model remembers from forward to forward besides the KV cache, and putting it back as it was."""
