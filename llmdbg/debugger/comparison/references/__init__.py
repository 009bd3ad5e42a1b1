"""What may stand beside a run: a run in this process or in another one, or a recording."""
