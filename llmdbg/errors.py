"""Everything llmdbg raises on purpose.

    LlmdbgError                 one clear line for the user; exit code 1
    ├── UsageError              the request cannot be met, and nothing was run; exit code 2
    │   ├── AddressError        an address that names no stage
    │   ├── CommandError        an unknown command, or arguments it does not take
    │   │   ├── OverError       a command that moves, once there is nowhere to go
    │   │   ├── UnableError     what is debugged cannot do what a command needs
    │   │   ├── ConditionError  a condition or an expression that cannot be parsed
    │   │   └── EditError       an edit that cannot be parsed, or whose result does not fit the stage
    │   ├── PromptError         a prompt that is empty, unreadable or too long
    │   ├── SettingsError       generation settings that are out of range or contradict each other
    │   ├── LensError           the logit lens does not work on this model
    │   └── ModelRequestError   an unknown model, a refused format, or an option that is not available here
    ├── LoadError               the model was found but could not be loaded
    │   ├── HubUnreachableError the Hub did not answer
    │   ├── DamagedFileError    a file is truncated, or is not what its name says
    │   ├── WeightsError        the weights are not those of the model that the configuration describes
    │   └── OutOfMemoryError    loading needs more memory than there is
    ├── GenerationError         the model's own forward failed while running
    │   └── RanksPartedError    the ranks of one run no longer do the same
    ├── EngineLostError         the engine cannot go on: its device has failed, or its process has ended
    ├── TraceError              a recording that is damaged, or cannot be read or written
    ├── OutputError             stdout is closed or cannot be written
    └── SessionFileError        a saved session that is damaged, or cannot be read or written
        └── SessionRequestError one that is not there, is open elsewhere, or needs an option; a UsageError too

The message says in one line what happened, where, and what to do about it; tracebacks go to the log. `remedy` is what
helps with errors of that kind: for programs, which do not know llmdbg.
"""

from typing import Any, ClassVar

from llmdbg.formatting import shortened


class LlmdbgError(Exception):
    """Base of everything llmdbg raises on purpose. What its message quotes is cut to a length that can be read."""

    remedy: ClassVar[str] = "read the message; `help` lists the commands, and the log file has the traceback"
    exit_code = 1

    def __str__(self) -> str:
        """The message, shortened."""
        return shortened(super().__str__())


class UsageError(LlmdbgError):
    """The request cannot be met; nothing was run."""

    remedy = "nothing was run: change the request as the message says"
    exit_code = 2


class AddressError(UsageError):
    """An address that names no stage of this model."""

    remedy = "`explain` and `info model` say what stages there are; `step` and `next` go from one to the next"


class CommandError(UsageError):
    """An unknown command, or arguments it does not take."""

    remedy = "`help` lists every command, and `help COMMAND` says what one takes"


class OverError(CommandError):
    """The generation or the program is over: a command has nowhere to move to."""

    remedy = "go back with `goto ADDRESS@TOKEN` or `reverse-step`, or begin again with `start`"


class AtStartError(CommandError):
    """The run stands at its start: a command has nowhere to go back to."""

    remedy = "go on with `step`, `next` or `continue`"


class UnableError(CommandError):
    """What is debugged cannot do what a command needs, such as going back."""

    remedy = "go on with other commands: this one has changed nothing, and the message says why it cannot be done here"


class ConditionError(CommandError):
    """A condition or an expression that cannot be parsed."""

    remedy = "`help break` says what conditions and expressions may contain"


class EditError(CommandError):
    """An edit that cannot be parsed, or whose result has a shape, dtype or type that does not fit the stage."""

    remedy = "`help edit` says what edits may be; the stop shows the shape and dtype that the stage returned"


class LensError(UsageError):
    """The logit lens does not work on this model: predictions cannot be read before `logits`."""

    remedy = "look at `info stage` or `info candidates` at the logits instead"


class PromptError(UsageError):
    """A prompt that is empty, unreadable or too long."""

    remedy = "give another prompt"


class SettingsError(UsageError, ValueError):
    """Generation settings that are out of range or contradict each other.

    It is a ValueError too, so that a reader of settings files can say which field is wrong.
    """

    remedy = "change the setting that the message names"


class ModelRequestError(UsageError):
    """An unknown model, a refused format, or an option that this machine or model does not offer."""

    remedy = "give another model or leave the option out, as the message says"


class LoadError(LlmdbgError):
    """The model was found but could not be loaded."""

    remedy = "look at the model folder; `llmdbg doctor` shows what is installed here"


class HubUnreachableError(LoadError):
    """The Hub did not answer, and the model is not in the local cache."""

    remedy = "give a local folder, or try again when the network is there"


class DamagedFileError(LoadError):
    """A file is truncated, or is not what its name says."""

    remedy = "get the file that the message names again"


class WeightsError(LoadError):
    """The weights are not those of the model that the configuration describes.

    `differences` names every tensor concerned: an `llmdbg.models.weight_differences.WeightDifferences`.
    """

    remedy = "`weights` names every tensor; open with `--allow-missing` to look at the model as it is"

    def __init__(self, message: str, differences: Any) -> None:
        super().__init__(message)
        self.differences = differences


class OutOfMemoryError(LoadError):
    """Loading needs more memory than there is."""

    remedy = "use a smaller dtype, another device or a smaller model"


class GenerationError(LlmdbgError):
    """The model's own forward failed while running."""

    remedy = "the stop names the stage: `backtrace` and `info locals` look at it, `start` begins again"


class RanksPartedError(GenerationError):
    """The ranks of one run no longer do the same: one has failed, or stands elsewhere."""


class EngineLostError(LlmdbgError):
    """The engine cannot go on: its device has failed, or its process or another rank's has ended."""

    remedy = "start llmdbg again: `--resume` with the session's id, if the message names one, takes up where it stood"


class TraceError(LlmdbgError):
    """A recording that is damaged, or cannot be read or written. The message names the file."""

    remedy = "record the run again; what can be read of it is still shown"


class OutputError(LlmdbgError):
    """The output is closed, or cannot be written: the disk is full, for example."""

    remedy = "make room, or give another place to write to"


class SessionFileError(LlmdbgError):
    """A saved session that is damaged, or cannot be read or written.

    `damaged` is True if the file itself is at fault, so that trying again would fail the same way.
    """

    remedy = "start a new session; the message names the file"

    def __init__(self, message: str, *, damaged: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged


class SessionRequestError(SessionFileError, UsageError):
    """A saved session that is not there, is open elsewhere, or cannot be resumed without another option."""

    remedy = "`llmdbg --resume` without an id, or `open` with `latest`, takes the last session that can be resumed"
