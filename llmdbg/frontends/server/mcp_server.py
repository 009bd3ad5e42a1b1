"""`llmdbg mcp`: the same requests as tools of the Model Context Protocol, by the reference package `mcp`.

A tool's arguments and result have the schemas of the requests and replies of `serve --json`. Its text is what a person
would read, its structured content the reply. Cancelling a call interrupts what runs.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from functools import cache
from typing import IO, TYPE_CHECKING, Any

from llmdbg.errors import EngineLostError, UsageError
from llmdbg.frontends.answers.described_types import description_of
from llmdbg.frontends.answers.json_schema import DIALECT
from llmdbg.frontends.server.desk import Desk, failed
from llmdbg.frontends.server.requests import DEFAULT_MOST, REQUESTS, Command, Open, Quit, Request, request_of
from llmdbg.frontends.server.run_thread import RunThread
from llmdbg.frontends.server.schema import arguments_schema, reply_schema
from llmdbg.frontends.server.streams import lines_of
from llmdbg.version import __version__

if TYPE_CHECKING:
    import mcp_types as types
    from mcp.server.context import ServerRequestContext

    from llmdbg.frontends.ranks import Ranks
    from llmdbg.frontends.server.journal import Journal
    from llmdbg.frontends.server.served_run import ServedRun

_TOOLS = {do: kind for do, kind in REQUESTS.items() if kind is not Quit}
"""A client of this protocol leaves by closing the stream."""
_SECONDS_FOR_LAST_WORDS = 0.5
"""How long the loop has to write the answers of calls that will not be carried out."""
_INSTRUCTIONS = (
    "llmdbg is gdb for language models: it stops a real model's own forward at every stage (each layer, each module, "
    "the logits, the choice of the token), shows what is there, and goes on or back. Call `help` to list the commands, "
    "`open` to load a model with a prompt, then `command` with one line at a time. There is one run, which stays open "
    "between calls. Answers are cut to `most` characters: `left_out` says what is missing, and `more` fetches it."
)


class _Tools:
    """Carries out calls of tools."""

    def __init__(self, thread: RunThread) -> None:
        self._desk = Desk(thread)

    async def list(self, _context: ServerRequestContext[Any], _params: Any) -> types.ListToolsResult:
        """Every tool, with the schemas of what it takes and returns."""
        import mcp_types as types

        return types.ListToolsResult(
            tools=[
                types.Tool(
                    name=do,
                    description=tool_description(kind),
                    input_schema={"$schema": DIALECT, **arguments_schema(kind)},
                    output_schema={"$schema": DIALECT, **_reply_schema()},
                )
                for do, kind in _TOOLS.items()
            ]
        )

    async def call(
        self, context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        """Carry out one call. What goes wrong is in the result."""
        try:
            if params.name not in _TOOLS:
                raise UsageError(f"there is no tool {params.name!r}: {', '.join(_TOOLS)} are all")
            request = request_of(params.name, dict(params.arguments or {}))
        except UsageError as error:
            return self._result(failed(error), DEFAULT_MOST)
        return self._result(await self._carried_out(request, context), request.most)

    async def _carried_out(self, request: Request, context: ServerRequestContext[Any]) -> Journal:
        loop = asyncio.get_running_loop()
        reported: set[asyncio.Task[None]] = set()

        def tell(doing: str, done: int, total: int | None) -> None:
            task = loop.create_task(context.session.report_progress(done, total, doing))
            reported.add(task)
            task.add_done_callback(reported.discard)

        def report(doing: str, done: int, total: int | None) -> None:
            loop.call_soon_threadsafe(tell, doing, done, total)

        future: Future[Journal] = self._desk.ask(request, report)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            # One that still waits is not begun; the one that runs is stopped.
            if not future.cancelled():
                self._desk.interrupt()
            raise

    def _result(self, journal: Journal, most: int) -> types.CallToolResult:
        import mcp_types as types

        return types.CallToolResult(
            content=[types.TextContent(text=self._desk.text(journal, most))],
            structured_content=self._desk.reply(None, journal, most),
            is_error=journal.failed,
        )


def serve_mcp(
    make: Callable[[], ServedRun], asked: int, answers: IO[str], first: Open | None, ranks: Ranks | None = None
) -> None:
    """Serve one client until it closes the stream, on rank 0 where there are several `ranks`.

    Raises UsageError if the package `mcp` is not installed.
    """
    try:
        import mcp.server.stdio
        from mcp.server import Server
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the package mcp is not installed ({error.name} is missing): pip install 'llm-generation-debugger[mcp]'"
        ) from error
    import anyio

    logging.getLogger("mcp").setLevel(logging.WARNING)
    thread = RunThread(make, ranks=ranks)
    tools = _Tools(thread)
    server: Server[Any] = Server(
        "llmdbg",
        version=__version__,
        instructions=_INSTRUCTIONS,
        on_list_tools=tools.list,
        on_call_tool=tools.call,
    )

    async def serve() -> None:
        lines: Any = _Requests(asked)
        async with mcp.server.stdio.stdio_server(lines, anyio.wrap_file(answers)) as (read, write):
            await server.run(read, write, server.create_initialization_options())

    def tell_loss(_rank: int | None, text: str, _session: str) -> None:
        thread.abandon(EngineLostError(text))
        time.sleep(_SECONDS_FOR_LAST_WORDS)

    if ranks is not None:
        ranks.tell_client = tell_loss
    thread.start()
    if first is not None:
        thread.submit(first, lambda *_: None)
    try:
        asyncio.run(serve())
    finally:
        thread.leave()


class _Requests:
    """The client's lines of a bounded length, as the transport reads them."""

    def __init__(self, asked: int) -> None:
        self._lines = lines_of(asked)

    async def __aiter__(self) -> AsyncIterator[str]:
        """Yield each line once it is there."""
        while (line := await asyncio.to_thread(next, self._lines, None)) is not None:
            yield line.decode("utf-8", "replace")


def tool_description(kind: type[Request]) -> str:
    """What a tool does; of `command`, also every command in the registry."""
    said = description_of(kind)
    if kind is not Command:
        return said
    from llmdbg.debugger.commands import COMMANDS

    listed = "\n".join(f"{each.usage}: {each.summary}" for each in COMMANDS if each.name != "quit")
    return f"{said}\nThe tool `help` says more about each of these:\n{listed}"


@cache
def _reply_schema() -> dict[str, Any]:
    return reply_schema()
