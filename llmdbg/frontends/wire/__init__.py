"""What an engine, its holder and its screens say to each other: frames, messages, and the engine's end."""
