"""Answers the requests of one editor. It belongs to the thread that owns the model; `inbox.py` reads for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from llmdbg.errors import LlmdbgError, UsageError
from llmdbg.frontends.dap import arguments
from llmdbg.frontends.dap.breakpoints import FILTERS
from llmdbg.frontends.dap.launching import check_names, is_program, not_known
from llmdbg.frontends.dap.movement import THREAD
from llmdbg.frontends.log import record
from llmdbg.frontends.sanitize import sanitize

if TYPE_CHECKING:
    from llmdbg.frontends.dap.inbox import Inbox
    from llmdbg.frontends.dap.opening import Opener
    from llmdbg.frontends.dap.session import EditorSession
    from llmdbg.frontends.dap.wire import Message, Wire

_ABILITIES = (
    *("ConfigurationDoneRequest", "FunctionBreakpoints", "ConditionalBreakpoints", "HitConditionalBreakpoints"),
    *("LogPoints", "EvaluateForHovers", "StepBack", "SetVariable", "RestartRequest", "CompletionsRequest"),
    *("ExceptionInfoRequest", "TerminateRequest", "DelayedStackTraceLoading", "LoadedSourcesRequest"),
    *("BreakpointLocationsRequest", "SteppingGranularity", "ExceptionFilterOptions"),
)
CAPABILITIES = {
    **{f"supports{each}": True for each in _ABILITIES},
    "exceptionBreakpointFilters": list(FILTERS),
    "completionTriggerCharacters": [" ", ".", "@"],
}
Handler = Callable[["Message"], None]


class Adapter:
    """One editor's session, from `initialize` to `disconnect`. `serve` answers until it is over."""

    def __init__(self, wire: Wire, inbox: Inbox, opener: Opener) -> None:
        self._wire, self._inbox, self._opener = wire, inbox, opener
        self._console = opener.console
        self._session: EditorSession | None = None
        self._editor = arguments.Initialize()
        self._launched: arguments.LaunchRequest | None = None
        self._over = False
        self._handlers: dict[str, Handler] = {
            "initialize": self._initialize,
            "launch": self._launch,
            "attach": self._attach,
            "configurationDone": self._configuration_done,
            "threads": self._threads,
            "terminate": self._terminate,
            "disconnect": self._disconnect,
        }

    def serve(self) -> None:
        """Answer requests until the editor leaves, or its end of the wire is closed."""
        try:
            for message in self._inbox:
                self._answer(message)
                if self._over:
                    return
        finally:
            if self._session is not None:
                self._session.close()

    def answer_waiting(self) -> bool:
        """Answer what has come while the run was going. Returns whether the run may go on."""
        for message in self._inbox.waiting():
            self._answer(message)
        return not (self._over or self._inbox.leaving)

    def _answer(self, message: Message) -> None:
        """Answer one request; whatever goes wrong is one line."""
        try:
            self._handler(message["command"])(message)
        except UsageError as error:
            self._refuse(message, str(error))
        except LlmdbgError as error:
            record(error)
            self._refuse(message, str(error))
        except Exception as error:  # whatever it is, the editor hears of it, and the session goes on
            record(error)
            self._refuse(message, f"{type(error).__name__}: {error} (the traceback is in the log)")

    def _refuse(self, message: Message, why: str) -> None:
        if not self._inbox.answered(message):
            # Of what the editor asks by itself while somebody looks around, no window is wanted.
            asked = message["command"] in ("launch", "attach", "restart", "setVariable", "stepBack", "reverseContinue")
            self._wire.respond(message, error=sanitize(" ".join(why.split())), shown=asked)

    def _handler(self, command: str) -> Handler:
        if command in self._handlers:
            return self._handlers[command]
        if self._session is None:
            raise UsageError(f"{command} comes after launch: there is nothing to debug yet")
        found = self._session.handlers.get(command)
        if found is None:
            raise UsageError(f"this adapter has no request {command!r}")
        return found

    def _initialize(self, message: Message) -> None:
        self._editor = arguments.read(arguments.Initialize, message)
        self._wire.respond(message, CAPABILITIES)

    def _launch(self, message: Message) -> None:
        if self._launched is not None:
            raise UsageError("this adapter has launched already: one adapter debugs one run")
        request = arguments.read(arguments.LaunchRequest, message)
        given = message.get("arguments") or {}
        check_names(given)
        self._console.say(not_known(given))
        self._launched = request
        try:
            movement = self._opener.open(request, reports=self._editor.supports_progress_reporting)
        except BaseException:
            self._launched = None
            raise
        # Only now: it imports torch, and a program may have something to set before that.
        from llmdbg.frontends.dap.session import EditorSession

        self._session = EditorSession(
            self._wire,
            movement,
            self._console,
            self._editor,
            request,
            self.answer_waiting,
            is_program=is_program(request),
        )
        self._session.introduce()
        self._wire.respond(message)
        self._wire.event("initialized")

    def _attach(self, message: Message) -> None:
        raise UsageError("attach is not possible: `launch` a model with a prompt, or a program")

    def _configuration_done(self, message: Message) -> None:
        if self._session is None:
            raise UsageError("configurationDone comes after launch: there is nothing to debug yet")
        self._wire.respond(message)
        self._session.begin()

    def _threads(self, message: Message) -> None:
        self._wire.respond(message, {"threads": [{"id": THREAD, "name": "forward"}]})

    def _terminate(self, message: Message) -> None:
        self._inbox.answer(message)
        if self._session is not None:
            self._session.over()
        else:
            self._wire.event("terminated")

    def _disconnect(self, message: Message) -> None:
        self._over = True
        if self._session is not None:
            self._session.close()
            self._session = None
        self._inbox.answer(message)
