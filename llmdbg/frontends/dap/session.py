"""A debuggee under an editor's control: running it, and telling the editor where it stands."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.commands import COMMANDS, Answer, Effect, Moved, Quit
from llmdbg.debugger.execution.stop import Reason
from llmdbg.engine.debuggee import Capability, require
from llmdbg.errors import AtStartError, LlmdbgError, UsageError
from llmdbg.frontends.answers import answer_lines
from llmdbg.frontends.answers.stops import end_lines, stop_line
from llmdbg.frontends.dap import arguments
from llmdbg.frontends.dap.breakpoints import EditorBreakpoints
from llmdbg.frontends.dap.looking import Looking
from llmdbg.frontends.dap.movement import THREAD, Movement
from llmdbg.frontends.log import record
from llmdbg.frontends.opening import opening_notes
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.unhit_breakpoints import attention_in, unhit_breakpoints

if TYPE_CHECKING:
    from llmdbg.debugger.commands import Outcome
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.stop import Stop
    from llmdbg.frontends.dap.console import EditorConsole
    from llmdbg.frontends.dap.wire import Message, Wire

_GOES_ON = ("continue", "run")
_LOOK_ELSEWHERE = ("up", "down", "frame", "focus", "lane")
"""Commands that move what is looked at, and not the run."""
_REASONS = {Reason.WATCH: "data breakpoint", Reason.EXCEPTION: "exception", Reason.END: "end"}


class EditorSession:
    """Carries out what an editor asks of a launched debuggee. `handlers` answers the requests, by their names.

    `answer_waiting` answers what has come while the run was going, and returns whether it may go on.
    """

    def __init__(
        self,
        wire: Wire,
        movement: Movement,
        console: EditorConsole,
        editor: arguments.Initialize,
        request: arguments.LaunchRequest,
        answer_waiting: Callable[[], bool],
        *,
        is_program: bool,
    ) -> None:
        assert movement.debugger is not None
        self.debugger: Debugger = movement.debugger
        self._wire, self._movement, self._console = wire, movement, console
        self._editor, self._request, self._is_program = editor, request, is_program
        self._answer_waiting = answer_waiting
        self._breakpoints = EditorBreakpoints(self.debugger)
        self._looking = Looking(self.debugger, self._breakpoints, wire, editor)
        self._going = self._is_over = self._again = False
        self._failed = ""
        self.handlers: dict[str, Callable[[Message], None]] = {
            **self._looking.handlers,
            "setBreakpoints": self._set_breakpoints,
            "setFunctionBreakpoints": self._set_function_breakpoints,
            "setExceptionBreakpoints": self._set_exception_breakpoints,
            "exceptionInfo": self._exception_info,
            "continue": self._continue,
            "next": lambda message: self._step(message, "next"),
            "stepIn": lambda message: self._step(message, "step"),
            "stepOut": lambda message: self._step(message, "finish"),
            "stepBack": lambda message: self._step(message, "reverse-next"),
            "reverseContinue": lambda message: self._step(message, "reverse-continue"),
            "restart": self._restart,
            "evaluate": self._evaluate,
            "setVariable": self._set_variable,
        }

    def introduce(self) -> None:
        """Say what is being debugged, and what it cannot do."""
        debuggee, run = self.debugger.debuggee, self.debugger.run
        self._wire.event(
            "process",
            name=sanitize(debuggee.name),
            systemProcessId=os.getpid(),
            isLocalProcess=True,
            startMethod="launch",
        )
        able = debuggee.capabilities
        if Capability.GO_BACK not in able:
            self._wire.event("capabilities", capabilities={"supportsStepBack": False, "supportsRestartRequest": False})
        self._console.say(opening_notes(debuggee))
        run.on_trace = self._log
        run.user_code.tell = lambda text: self._console.say([text])
        if not self._is_program:
            run.on_token = self._console.token

    def begin(self) -> None:
        """Start the run: the commands of the launch, and then on to the first breakpoint."""
        for line in self._request.commands:
            if COMMANDS.is_command(line):
                self._console.say(self._carry_out(line, moves=False))
        if self._request.stop_on_entry and not self._request.no_debug:
            self._report("entry")
        else:
            self._go("continue")

    def over(self) -> None:
        """Tell the editor that the run is over."""
        if not self._is_over:
            self._is_over = True
            program = self.debugger.debuggee
            code = getattr(getattr(program, "exit", None), "code", 0)
            self._console.flush()
            self._wire.event("exited", exitCode=int(code or 0))
            self._wire.event("terminated")

    def close(self) -> None:
        """End the run, and put the model back as it was."""
        self._looking.forget()
        self.debugger.close()
        self._console.flush()

    def _go(self, line: str, granularity: str = "") -> list[str]:
        """Run on, and tell the editor where it stopped. Returns the lines that commands on the way answered."""
        self._looking.forget()
        self._going, said, at_start = True, list[str](), ""
        try:
            while True:
                with self._movement.by(granularity):
                    said += self._carry_out(line, moves=True)
                if not self._takes_up_again(line):
                    break
                line = "run" if self._again else "continue"
                if self._again:
                    self._again = False
                    self._breakpoints.begin_again()
        except AtStartError as error:
            at_start = str(error)
        except LlmdbgError as error:
            record(error)
            self._failed = str(error)
        finally:
            self._going = False
        if at_start:
            self._console.say([at_start])
        if not self._is_over:
            self._report("entry" if at_start else "")
        return said

    def _takes_up_again(self, line: str) -> bool:
        """Whether a run that has stopped is to go on: nobody wanted it to stop here."""
        stop, run = self.debugger.stop, self.debugger.run
        if self._is_over or self.debugger.end is not None:
            return False
        if stop.reason is Reason.EXCEPTION:
            return not self._breakpoints.stops_at_raised
        attended = run.interrupted and stop.reason is Reason.STEP and line in _GOES_ON
        if not attended or self._movement.paused:
            return False
        if not self._answer_waiting():
            self._is_over = True
            return False
        return not self._is_over and not self._movement.paused

    def _carry_out(self, line: str, *, moves: bool) -> list[str]:
        """Run a command line, and return what is to be said of it. Raises LlmdbgError."""
        said = list[str]()
        for command, outcome in self._movement.run(line, goes_on=moves and line in _GOES_ON):
            said += self._said(command, outcome)
        return said

    def _said(self, command: str, outcome: Outcome) -> list[str]:
        if isinstance(outcome, Quit):
            self.over()
            return []
        if isinstance(outcome, Answer):
            done = f"{outcome.done} " if outcome.done else ""
            return [f"{done}{each}" for each in answer_lines(outcome.data)]
        assert isinstance(outcome, Moved)
        missed = unhit_breakpoints(command, outcome, attention_in(self.debugger))
        return [each for each in (outcome.done, missed) if each]

    def _report(self, reason: str = "") -> None:
        """Tell the editor that the run stands, and where; or that it is over."""
        self._looking.moved()
        stop, failed = self.debugger.stop, self._failed
        if self.debugger.end is not None:
            self._console.say(end_lines(self.debugger.end))
            if self._is_program or not self._request.stop_at_end or self._request.no_debug:
                self.over()
                return
        elif not failed:
            self._console.say([stop_line(stop)])
        reason = reason or self._reason(stop)
        body: dict[str, Any] = {"reason": reason, "threadId": THREAD, "allThreadsStopped": True}
        if failed:
            body |= {"reason": "exception", "description": "the run failed", "text": sanitize(failed)}
            self._console.say([failed], "stderr")
        elif reason != "step":
            body["description"] = self._description(reason, stop)
            body["text"] = sanitize(stop.why)
        if stop.breakpoint is not None and not failed:
            body["hitBreakpointIds"] = [stop.breakpoint]
        self._wire.event("stopped", **body)

    def _reason(self, stop: Stop) -> str:
        if self.debugger.end is not None:
            return "end"
        if stop.reason is Reason.BREAKPOINT and stop.breakpoint is not None:
            if self._breakpoints.is_exception(stop):
                return "exception"
            return "function breakpoint" if self._breakpoints.is_at_a_stage(stop.breakpoint) else "breakpoint"
        if stop.reason is Reason.STEP:
            return "pause" if self._movement.paused else "step"
        return _REASONS.get(stop.reason, str(stop.reason))

    def _description(self, reason: str, stop: Stop) -> str:
        number = "" if stop.breakpoint is None else f" {stop.breakpoint}"
        where = f"{stop.stage.address}@{stop.token}"
        if reason == "end" and self.debugger.end is not None:
            return f"the generation has ended: {sanitize(self.debugger.end.why)}"
        return f"{reason}{number} at {where}"

    def _log(self, stop: Stop) -> None:
        """Write what a tracepoint logs. Runs inside the forward."""
        text = self._breakpoints.logged(stop)
        self._console.say_at(stop_line(stop) if text is None else text, stop)

    def _changed(self) -> None:
        """Values, tokens or settings have changed where the run stands."""
        self._looking.moved()
        if self._editor.supports_invalidated_event:
            self._wire.event("invalidated", areas=["all"])
        else:
            self._report("step")

    def _refuse_while_going(self, command: str) -> None:
        if self._going:
            raise UsageError(f"the run is going: pause before {command}")

    def _resumes(self, message: Message, body: dict[str, Any] | None = None) -> None:
        """Say yes to a request that resumes the run."""
        self._movement.paused, self._failed = False, ""
        self._wire.respond(message, body)

    def _continue(self, message: Message) -> None:
        self._refuse_while_going("continue")
        self._resumes(message, {"allThreadsContinued": True})
        if self.debugger.end is not None or self._is_over:
            self.over()
        else:
            self._go("continue")

    def _step(self, message: Message, line: str) -> None:
        self._refuse_while_going(message["command"])
        step = arguments.read(arguments.Step, message)
        if line.startswith("reverse"):
            require(self.debugger.debuggee, Capability.GO_BACK)
        else:
            self.debugger.run.refuse_if_over()
        if step.granularity == "instruction":
            require(self.debugger.debuggee, Capability.OPS)
        self._resumes(message)
        self._go(line, step.granularity)

    def _restart(self, message: Message) -> None:
        if self._is_program:
            raise UsageError("a program runs once in a process: end the session and launch it again")
        if self._going:
            self._again = True
            self._wire.respond(message)
            return
        self._resumes(message)
        self._is_over = False
        self._breakpoints.begin_again()
        if self._request.stop_on_entry:
            self._looking.forget()
            self._carry_out("start", moves=False)
            self._report("entry")
        else:
            self._go("run")

    def _evaluate(self, message: Message) -> None:
        asked = arguments.read(arguments.Evaluate, message)
        if asked.context != "repl":
            self._wire.respond(message, self._looking.evaluated(asked))
            return
        self._looking.select(asked.frame_id)
        command = COMMANDS.parse(asked.expression)
        before = self._breakpoints.listed()
        self._movement.paused = False
        if command.effect & Effect.MOVES and command.command.name not in _LOOK_ELSEWHERE:
            self._refuse_while_going(command.command.name)
            self._failed = ""
            self._wire.event("continued", threadId=THREAD, allThreadsContinued=True)
            said = self._go(asked.expression)
        else:
            said = self._carry_out(asked.expression, moves=False)
            if command.effect & (Effect.CHANGES | Effect.MOVES):
                self._changed()
        self._wire.respond(message, {"result": "\n".join(said), "variablesReference": 0})
        for change in self._breakpoints.changes(before):
            self._wire.event("breakpoint", **change)

    def _set_variable(self, message: Message) -> None:
        self._refuse_while_going("setVariable")
        asked = arguments.read(arguments.SetVariable, message)
        line, shown = self._looking.assignment(asked)
        self._carry_out(line, moves=False)
        self._wire.respond(message, {"value": shown})
        self._changed()

    def _set_breakpoints(self, message: Message) -> None:
        asked = arguments.read(arguments.SetBreakpoints, message)
        if asked.source.path is None:
            raise UsageError("setBreakpoints: the source has no path, and only files on disk have lines to stop at")
        wanted = [self._looking.counted_from_1(each) for each in asked.breakpoints]
        found = self._breakpoints.lines(asked.source.path, wanted)
        self._wire.respond(message, {"breakpoints": [self._looking.as_counted(each) for each in found]})

    def _set_function_breakpoints(self, message: Message) -> None:
        asked = arguments.read(arguments.SetFunctionBreakpoints, message)
        found = self._breakpoints.stages(asked.breakpoints)
        self._wire.respond(message, {"breakpoints": [self._looking.as_counted(each) for each in found]})

    def _set_exception_breakpoints(self, message: Message) -> None:
        asked = arguments.read(arguments.SetExceptionBreakpoints, message)
        self._wire.respond(message, {"breakpoints": self._breakpoints.exceptions(asked.filters, asked.filter_options)})

    def _exception_info(self, message: Message) -> None:
        stop = self.debugger.stop
        if self._failed:
            name, why = "failed", self._failed
        elif stop.reason is Reason.EXCEPTION:
            name, why = stop.why.partition(":")[0], stop.why
        elif self._breakpoints.is_exception(stop):
            name, why = "nonfinite", stop.why
        else:
            raise UsageError("no exception has stopped the run here")
        self._wire.respond(
            message, {"exceptionId": sanitize(name), "description": sanitize(why), "breakMode": "always"}
        )
