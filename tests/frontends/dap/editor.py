"""An adapter in a thread of this process, and a client of it: quick, and seen by coverage."""

import os
import threading
from contextlib import contextmanager

from llmdbg.frontends.dap.adapter import Adapter
from llmdbg.frontends.dap.console import EditorConsole
from llmdbg.frontends.dap.inbox import Inbox
from llmdbg.frontends.dap.movement import Movement
from llmdbg.frontends.dap.opening import Opener
from llmdbg.frontends.dap.wire import Wire
from tests.frontends.dap.client import Client


@contextmanager
def editor():
    """A client whose adapter ends with the block."""
    (their_in, our_out), (our_in, their_out) = os.pipe(), os.pipe()
    files = os.fdopen(their_in, "rb"), os.fdopen(their_out, "wb"), os.fdopen(our_in, "rb"), os.fdopen(our_out, "wb")
    wire, movement = Wire(files[0], files[1]), Movement()
    inbox, console = Inbox(wire, movement, leave=lambda: None), EditorConsole(wire)
    adapter = Adapter(wire, inbox, Opener(wire, console, movement))
    inbox.begin()

    def serve():
        adapter.serve()
        inbox.end()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    client = Client(files[2], files[3])
    try:
        yield client
    finally:
        files[3].close()
        thread.join(30)
        assert not thread.is_alive()
        files[1].close()
        client.reading.join(30)
        files[2].close()
        inbox.reading.join(30)
        files[0].close()
