"""The debugger in a user's own program or notebook: `open_session` and `Session`."""
