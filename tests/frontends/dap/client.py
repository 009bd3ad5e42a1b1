"""A client of the Debug Adapter Protocol for tests: every message that comes is checked against the protocol's schema.

It speaks to an adapter in another process (`started`), or to one in a thread of this process's own (`Editor`).
"""

import json
import os
import queue
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

SECONDS = 120


def schema():
    """The protocol's published JSON schema, which debugpy carries; None where that is not installed."""
    found = find_spec("debugpy")
    if found is None or found.origin is None:
        return None
    path = "_vendored/pydevd/_pydevd_bundle/_debug_adapter/debugProtocol.json"
    return json.loads((Path(found.origin).parent / path).read_text())


class Checker:
    """Holds each message against its definition."""

    def __init__(self):
        self._schema = schema()
        self._validators = {}

    def check(self, message):
        if self._schema is None:
            return
        from jsonschema import Draft4Validator

        name = message.get("event") or message.get("command")
        kind = {"event": "Event", "response": "Response", "request": "Request"}[message["type"]]
        title = f"{name[0].upper()}{name[1:]}{kind}"
        if kind == "Response" and not message["success"]:
            title = "ErrorResponse"
        if title not in self._schema["definitions"] and kind == "Response":
            title = "Response"
        validator = self._validators.get(title)
        if validator is None:
            wanted = {**self._schema, "$ref": f"#/definitions/{title}"}
            validator = self._validators[title] = Draft4Validator(wanted)
        validator.validate(message)


class Client:
    """Sends requests, and collects what comes."""

    def __init__(self, reader, writer):
        self._reader, self._writer, self._seq = reader, writer, 0
        self._checker = Checker()
        self._come: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.events = []
        self.reading = threading.Thread(target=self._read, daemon=True)
        self.reading.start()

    def send(self, command, **arguments):
        self._seq += 1
        message = {"seq": self._seq, "type": "request", "command": command, "arguments": arguments}
        self.send_raw(json.dumps(message).encode())
        return self._seq

    def send_raw(self, data, header=None):
        self._writer.write((header or b"Content-Length: %d\r\n\r\n" % len(data)) + data)
        self._writer.flush()

    def ask(self, command, **arguments):
        """The body of the answer to a request. Fails if it is refused."""
        answer = self.answer(self.send(command, **arguments))
        assert answer["success"], answer
        return answer.get("body", {})

    def refused(self, command, **arguments):
        """The one line that a request is refused with."""
        answer = self.answer(self.send(command, **arguments))
        assert not answer["success"], answer
        assert answer["message"] == answer["body"]["error"]["variables"]["text"]
        assert "\n" not in answer["message"]
        return answer["message"]

    def answer(self, seq):
        while (message := self._next())["type"] != "response" or message["request_seq"] != seq:
            self._keep(message)
        return message

    def event(self, name, **having):
        """The next event with this name and these fields."""
        for place, each in enumerate(self.events):
            if _is(each, name, having):
                return self.events.pop(place)["body"]
        while not _is(message := self._next(), name, having):
            self._keep(message)
        return message["body"]

    def stopped(self):
        return self.event("stopped")

    def output(self, category=None):
        return "".join(
            each["body"]["output"]
            for each in self.events
            if each["event"] == "output" and category in (None, each["body"].get("category"))
        )

    def configured(self, **launch):
        """Go through the beginning of a session, with breakpoints in between that `before(client)` sets."""
        before = launch.pop("before", lambda _: None)
        self.ask("initialize", adapterID="llmdbg", supportsInvalidatedEvent=True, supportsProgressReporting=True)
        self.ask("launch", **launch)
        self.event("initialized")
        before(self)
        self.ask("configurationDone")
        return self

    def frames(self):
        return self.ask("stackTrace", threadId=1)["stackFrames"]

    def scopes(self, frame=0):
        found = self.ask("scopes", frameId=self.frames()[frame]["id"])["scopes"]
        return {each["name"]: each["variablesReference"] for each in found}

    def variables(self, reference, **page):
        found = self.ask("variables", variablesReference=reference, **page)["variables"]
        return {each["name"]: each for each in found}

    def _keep(self, message):
        if message["type"] == "event":
            self.events.append(message)

    def _next(self):
        message = self._come.get(timeout=SECONDS)
        if message is None:
            pytest.fail("the adapter has closed the wire")
        if isinstance(message, Exception):
            raise message
        return message

    def _read(self):
        try:
            while header := self._reader.readline():
                name, _, length = header.partition(b":")
                assert name == b"Content-Length" and self._reader.readline() == b"\r\n", header
                message = json.loads(self._reader.read(int(length)))
                self._checker.check(message)
                self._come.put(message)
        except Exception as error:
            self._come.put(error)
        self._come.put(None)


def _is(message, name, having):
    return (
        message["type"] == "event"
        and message["event"] == name
        and all(message["body"].get(key) == value for key, value in having.items())
    )


def started(*options, **how):
    """An adapter in a process of its own, and a client of it."""
    process = subprocess.Popen(
        [sys.executable, "-m", "llmdbg", "dap", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, **how.pop("env", {})},
        **how,
    )
    return process, Client(process.stdout, process.stdin)
