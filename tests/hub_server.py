"""A Hub of one model, on this machine: as much of its API as the Hub's client needs to download it."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

NAME, COMMIT = "somebody/tiny", "0123456789abcdef0123456789abcdef01234567"


class HubServer:
    """Serves a folder as the model `NAME`. Weights wait until `may_send` is set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.may_send = threading.Event()
        self.asked: list[str] = []
        """What was asked for, in order: `GET /api/models/…`."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                outer.answer(self)

            def do_GET(self) -> None:
                # Who asked may have gone.
                with suppress(OSError):
                    outer.answer(self)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_problem: object) -> None:
        self.may_send.set()
        self._server.shutdown()
        self._server.server_close()

    def environment(self, home: Path) -> dict[str, str | None]:
        """What makes a program ask this Hub, and keep what it downloads in a folder of its own; None: left out."""
        ours = {"HF_ENDPOINT": self.address, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1", "NO_PROXY": "127.0.0.1"}
        return {**ours, "HF_HUB_OFFLINE": None, "HF_HUB_CACHE": None}

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer a request."""
        path = request.path.partition("?")[0]
        self.asked.append(f"{request.command} {path}")
        if path.startswith(f"/api/models/{NAME}/revision/") or path == f"/api/models/{NAME}":
            files = [{"rfilename": each.name} for each in self._files()]
            _send(request, json.dumps({"id": NAME, "sha": COMMIT, "siblings": files}).encode())
        elif path == f"/api/models/{NAME}/tree/{COMMIT}":
            _send(request, json.dumps([_listed(each) for each in self._files()]).encode())
        elif path.startswith(f"/{NAME}/resolve/{COMMIT}/"):
            file = self.folder / path.rpartition("/")[2]
            if request.command == "GET" and file.suffix == ".safetensors":
                self.may_send.wait(120)
            _send(request, file.read_bytes(), headers={"ETag": f'"{_digest(file)}"', "X-Repo-Commit": COMMIT})
        else:
            _send(request, b"{}", 404)

    def _files(self) -> list[Path]:
        return sorted(each for each in self.folder.iterdir() if each.is_file())


def _listed(file: Path) -> dict[str, object]:
    return {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": _digest(file)}


def _digest(file: Path) -> str:
    return hashlib.sha1(file.read_bytes()).hexdigest()


def _send(
    request: BaseHTTPRequestHandler, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None
) -> None:
    request.send_response(status)
    plain = {"Content-Length": str(len(body)), "Content-Type": "application/json"}
    for name, value in {**plain, **(headers or {})}.items():
        request.send_header(name, value)
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(body)
