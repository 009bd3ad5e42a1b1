"""The screen as a web page, by textual-serve: on this machine only, behind an address that holds a secret.

- The page is served on 127.0.0.1, and every path begins with a token that is made anew at each start: another program
  of this machine, or another page in the same browser, cannot guess it. Nothing is loaded from elsewhere.
- Each visit starts llmdbg as a process of its own, with the arguments of this one; leaving the page ends it, and its
  session is saved. There is one at a time: a second visitor waits until the first has left.
- The Host header names the address that the browser used, so that a page behind `ssh -L` finds its way back.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import re
import secrets
import shlex
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmdbg.errors import UsageError
from llmdbg.frontends.output import narrate

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler, Middleware

LOOPBACK = "127.0.0.1"
_HOST = re.compile(r"[\w.\-]{1,253}(:\d{1,5})?|\[[0-9a-fA-F:]{2,45}\](:\d{1,5})?", re.ASCII)
_SECRET_BYTES = 24
WHAT_A_PAGE_SHOWS = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LC_ALL": "C.UTF-8"}
"""The environment of a terminal that shows what the page does."""
_OF_ANOTHER_TERMINAL = ("TMUX", "STY", "COLORFGBG")


def serve(arguments: Sequence[str], port: int) -> int:
    """Serve the screen of `llmdbg ARGUMENTS`, `--web` left out, until Ctrl-C; port 0 is any that is free. Returns 0.

    Raises UsageError if textual-serve is not installed, or the port cannot be had.
    """
    token = secrets.token_urlsafe(_SECRET_BYTES)
    app = page(_without_web(arguments), token)
    from aiohttp import web

    listening = _listen(port)
    at = listening.getsockname()[1]
    narrate(
        f"the screen is at http://{LOOPBACK}:{at}/{token}/ (whoever has this address has your session) · Ctrl-C ends"
    )
    os.environ.update(WHAT_A_PAGE_SHOWS)
    for name in _OF_ANOTHER_TERMINAL:
        os.environ.pop(name, None)
    logging.getLogger("textual-serve").setLevel(logging.CRITICAL)
    web.run_app(app, sock=listening, print=None, access_log=None)
    return 0


def page(arguments: Sequence[str], token: str) -> web.Application:
    """The web application: textual-serve's page and websocket below `/TOKEN/`, and nothing anywhere else.

    Raises UsageError if textual-serve is not installed.
    """
    try:
        import aiohttp_jinja2
        import jinja2
        from aiohttp import web
        from textual_serve.server import Server
    except ImportError as error:
        raise UsageError("--web needs textual-serve: pip install textual-serve") from error

    # -P: a module of that name in the current folder is not ours.
    command = shlex.join([sys.executable, "-P", "-m", "llmdbg", *arguments])
    server = Server(command, host=LOOPBACK, title="llmdbg")
    alone = asyncio.Lock()

    async def index(request: web.Request) -> web.StreamResponse:
        # textual-serve writes absolute addresses into the page.
        server.public_url = f"{request.scheme}://{request.host}"
        response: web.StreamResponse = await server.handle_index(request)
        return response

    async def websocket(request: web.Request) -> web.StreamResponse:
        async with alone:
            return await server.handle_websocket(request)

    app = web.Application(middlewares=[_guarded(token)])
    aiohttp_jinja2.setup(app, loader=jinja2.FileSystemLoader(server.templates_path))
    app.add_routes(
        [
            web.get(f"/{token}/", index, name="index"),
            web.get(f"/{token}/ws", websocket, name="websocket"),
            web.get(f"/{token}/download/{{key}}", server.handle_download, name="download"),
            web.static(f"/{token}/static", server.statics_path, name="static"),
        ]
    )
    return app


def _without_web(arguments: Sequence[str]) -> list[str]:
    """The arguments without `--web PORT` or `--web=PORT`."""
    kept, words = [], iter(arguments)
    for word in words:
        if word == "--web":
            next(words, None)
        elif not word.startswith("--web="):
            kept.append(word)
    return kept


def _guarded(token: str) -> Middleware:
    """What every request passes: the token, a Host that is an address, and the page's own Origin for a websocket."""
    from aiohttp import web

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        first = request.path.split("/")[1]
        if not hmac.compare_digest(first.encode(), token.encode()) or not _HOST.fullmatch(request.host):
            raise web.HTTPNotFound
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"{request.scheme}://{request.host}":
            raise web.HTTPForbidden
        response = await handler(request)
        if not response.prepared:
            response.headers.update(_headers(request.host))
        return response

    return guarded


def _headers(host: str) -> dict[str, str]:
    """Nothing from elsewhere, no frame around it, and no address given away."""
    return {
        "Content-Security-Policy": (
            "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
            f"img-src 'self' data:; font-src 'self' data:; connect-src 'self' ws://{host}; frame-ancestors 'none'; "
            "base-uri 'none'; form-action 'none'"
        ),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }


def _listen(port: int) -> socket.socket:
    """A socket that listens on this machine only."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((LOOPBACK, port))
        listening.listen()
    except (OSError, OverflowError) as error:
        listening.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"--web {port}: cannot listen on {LOOPBACK}:{port}: {reason}") from error
    return listening
