"""Everything llmdbg raises on purpose.

    LlmdbgError                 one clear line for the user; exit code 1
    ├── UsageError              what was asked for cannot be; exit code 2
    │   ├── AddressError        an address that names no stage
    │   ├── CommandError        an unknown command, or arguments it does not take
    │   │   ├── ConditionError  a condition or an expression that cannot be read
    │   │   └── EditError       an edit that cannot be read, or that makes what the model could not have made
    │   ├── PromptError         an empty, unreadable or too long prompt
    │   ├── SettingsError       generation settings that contradict each other
    │   ├── LensError           predictions cannot be read from inside this model
    │   └── ModelRequestError   an unknown model, a refused format, an option the machine or model does not offer
    ├── LoadError               the model was found but could not be loaded
    │   ├── HubUnreachableError the Hub did not answer
    │   ├── DamagedFileError    a file is truncated or is not what its name says
    │   └── OutOfMemoryError    what loading needs, and what there is
    ├── GenerationError         the model's own forward failed while running
    └── SessionFileError        a saved session that is damaged, in use elsewhere or cannot be written

The message says what happened, where, and what to do, in one line; a traceback belongs in the log.
"""


class LlmdbgError(Exception):
    """Base of everything llmdbg raises on purpose."""

    exit_code = 1


class UsageError(LlmdbgError):
    """What was asked for cannot be; nothing was run."""

    exit_code = 2


class AddressError(UsageError):
    """An address that names no stage of this model."""


class CommandError(UsageError):
    """An unknown command, or arguments it does not take."""


class ConditionError(CommandError):
    """A condition or an expression that cannot be read."""


class EditError(CommandError):
    """An edit that cannot be read, or that makes what the model could not have made there."""


class LensError(UsageError):
    """Predictions cannot be read from inside this model."""


class PromptError(UsageError):
    """An empty, unreadable or too long prompt."""


class SettingsError(UsageError, ValueError):
    """Generation settings out of range, or that contradict each other.

    A ValueError too, so that whoever reads settings from a file can say in which field they stand.
    """


class ModelRequestError(UsageError):
    """An unknown model, a refused format, or an option the machine or model does not offer."""


class LoadError(LlmdbgError):
    """The model was found but could not be loaded."""


class HubUnreachableError(LoadError):
    """The Hub did not answer, and the model is not in the local cache."""


class DamagedFileError(LoadError):
    """A file is truncated, or is not what its name says."""


class OutOfMemoryError(LoadError):
    """Loading needs more memory than there is."""


class GenerationError(LlmdbgError):
    """The model's own forward failed while running."""


class SessionFileError(LlmdbgError):
    """A saved session that is damaged, in use elsewhere, or cannot be read or written.

    `damaged` is True when the file itself is at fault, so that another try would fail the same way.
    """

    def __init__(self, message: str, *, damaged: bool = False) -> None:
        super().__init__(message)
        self.damaged = damaged
