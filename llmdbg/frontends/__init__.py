"""The ways to use a session: headless and on a screen."""
