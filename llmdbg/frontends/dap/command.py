"""`llmdbg dap`: the options, and the process that an editor starts: stdin and stdout, or one connection to a port."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, BinaryIO

from llmdbg.errors import UsageError
from llmdbg.frontends import output

if TYPE_CHECKING:
    from llmdbg.frontends.dap.streams import Streams

_EPILOG = """\
An editor starts this and speaks the Debug Adapter Protocol with it: docs/editors.md has the
launch.json of VS Code and the lines for nvim-dap. What is debugged, a model with a prompt or a
program of your own, is said by the editor's launch configuration.
"""


def dap(arguments: Sequence[str]) -> int:
    """Serve one editor until it leaves. Returns the exit code. Raises UsageError."""
    options = _parser().parse_args(arguments)
    if options.port is not None and not 0 <= options.port < 65536:
        raise UsageError(f"--port takes a number from 0 to 65535, not {options.port}")
    with ExitStack() as undo:
        connection: tuple[BinaryIO, BinaryIO] | None = None
        if options.port is not None:
            from llmdbg.frontends.dap.port import one_connection

            connection = undo.enter_context(one_connection(options.port))
        from llmdbg.frontends.dap.streams import Streams

        streams = Streams()
        trouble = _serve(streams, connection or (streams.reader, streams.writer), options)
        streams.end()
    if trouble:
        output.complain(trouble)
    # The program's threads and what waits in C code would keep the process; its exit handlers have run or never will.
    output.flush()
    os._exit(1 if trouble else 0)


def _serve(streams: Streams, connection: tuple[BinaryIO, BinaryIO], options: argparse.Namespace) -> str:
    """Answer an editor to the end. Returns why it could not be understood; empty if it could."""
    from llmdbg.frontends.dap.adapter import Adapter
    from llmdbg.frontends.dap.console import EditorConsole
    from llmdbg.frontends.dap.inbox import Inbox
    from llmdbg.frontends.dap.movement import Movement
    from llmdbg.frontends.dap.opening import Opener
    from llmdbg.frontends.dap.wire import Wire

    wire, movement = Wire(*connection), Movement()
    inbox, console = Inbox(wire, movement), EditorConsole(wire)
    opener = Opener(
        wire,
        console,
        movement,
        streams.inside_program(console.printed),
        trust_remote_code=options.trust_remote_code,
        allow_pickle=options.allow_pickle,
    )
    inbox.begin()
    Adapter(wire, inbox, opener).serve()
    inbox.end()
    return inbox.trouble


def _parser() -> argparse.ArgumentParser:
    options = output.Parser(
        prog="llmdbg dap",
        description="A debug adapter: VS Code, nvim-dap and other editors debug a model through it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    options.add_argument(
        "--port", type=int, metavar="N", help="wait for one editor at this port of 127.0.0.1, instead of on stdin"
    )
    options.add_argument("--trust-remote-code", action="store_true", help="run Python code that comes with the model")
    options.add_argument(
        "--allow-pickle", action="store_true", help="load pickled weights (.bin, .pt), which can run code"
    )
    return options
