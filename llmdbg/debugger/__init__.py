"""Where to stop and what to do there: sessions, addresses, breakpoints, commands."""
