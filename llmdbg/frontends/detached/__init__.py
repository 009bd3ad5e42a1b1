"""An engine that outlives its screen: the process that keeps its terminal, the screens, and `llmdbg attach`.

    screen (a relay)  ⇄  unix socket  ⇄  holder  ⇄  pseudo-terminal  ⇄  engine: llmdbg as ever

The engine is the whole of llmdbg on a terminal of its own. The holder holds the other end of that terminal: it reads
whatever is written, passes it to the screens that are attached, and never waits for any of them. A screen only copies
bytes: it imports nothing heavy, and can be killed at any moment.
"""
