"""From what a client asks to open to what is opened: a model with a prompt, or a saved session. Loads nothing."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from llmdbg.errors import SessionRequestError, SettingsError, UsageError
from llmdbg.formatting import listed
from llmdbg.frontends.server.requests import Open

if TYPE_CHECKING:
    from llmdbg.debugger.persistence.model import SavedSession
    from llmdbg.debugger.persistence.store import SessionStore
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.frontends.launch_request import LaunchRequest
    from llmdbg.frontends.ranks import Ranks
    from llmdbg.models.spec import ModelSpec

LATEST = "latest"
"""What means the session that `--resume` without an id would take up."""
_WAYS = ("prompt", "recording", "session")
_OF_EVERY_WAY = (*_WAYS, "most")


@dataclass(frozen=True, slots=True)
class Served:
    """What the command line says of the models that a client may open."""

    spec: ModelSpec
    """The model that is named there, and how to load it. Leave to run code or to unpickle is for that one alone."""
    commands: tuple[str, ...] = ()
    """Command lines of the user's own, to run whenever a run begins."""

    def spec_for(self, request: Open) -> ModelSpec:
        """The model that a client asks for."""
        spec = self.spec
        if request.model is not None and request.model != spec.name:
            spec = replace(spec, name=request.model, trust_remote_code=False, allow_pickle=False)
        dtype = spec.dtype if request.dtype == "auto" else request.dtype
        return replace(spec, dtype=dtype, device=spec.device if request.device == "auto" else request.device)

    def spec_of(self, saved: SavedSession) -> ModelSpec:
        """The model of a saved session. Raises SessionRequestError for one that needs leave which is not given."""
        is_named = saved.spec.name == self.spec.name
        return saved.spec_to_load(
            trust_remote_code=is_named and self.spec.trust_remote_code,
            allow_pickle=is_named and self.spec.allow_pickle,
        )


def check(request: Open) -> None:
    """Raise UsageError for a request that names more or less than one thing to open."""
    given = [name for name in _WAYS if getattr(request, name) is not None]
    if len(given) != 1:
        raise UsageError(
            "open takes a `prompt`, with or without a `model`, or a `recording`, or a `session`: give one of them"
        )
    if request.session is None:
        return
    plain = Open()
    more = [each.name for each in fields(request) if each.name not in _OF_EVERY_WAY]
    if changed := [name for name in more if getattr(request, name) != getattr(plain, name)]:
        raise UsageError(f"a session has its own model, prompt and settings: leave out {listed(changed)}")


def launch_of(request: Open, served: Served, ranks: Ranks | None) -> LaunchRequest:
    """The generation that a client asks for. Raises UsageError."""
    from llmdbg.frontends.launch_request import LaunchRequest
    from llmdbg.models.tokens import check_text

    assert request.prompt is not None
    check_text(request.prompt, called="the prompt", remedy="give some text as `prompt`")
    chat = request.chat or request.system is not None
    spec, settings = served.spec_for(request), _settings(request)
    return LaunchRequest(spec, request.prompt, settings, chat, request.system, ranks=ranks)


def launch_again(saved: SavedSession, served: Served, ranks: Ranks | None) -> LaunchRequest:
    """The generation that a saved session was of. Raises SessionRequestError."""
    from llmdbg.frontends.launch_request import LaunchRequest

    return LaunchRequest(
        served.spec_of(saved),
        saved.prompt,
        saved.settings,
        saved.chat,
        saved.system,
        resumed=saved,
        left_pad=saved.left_pad,
        ranks=ranks,
    )


def find_session(store: SessionStore, asked: str) -> SavedSession:
    """The session that a client means, which may be another process's. Raises SessionFileError."""
    if asked != LATEST:
        return store.load(asked)
    if (latest := store.latest()) is None:
        raise SessionRequestError("there is no saved session: `open` a model with a prompt")
    return latest


def _settings(request: Open) -> GenerationSettings:
    from llmdbg.engine.settings import GenerationSettings

    asked: dict[str, Any] = {each.name: getattr(request, each.name) for each in fields(GenerationSettings)}
    try:
        return GenerationSettings(**asked)
    except SettingsError as error:
        raise SettingsError(f"open: {error}") from error
