"""Loading and running without a screen."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.saved import restore
from llmdbg.debugger.session import Session
from llmdbg.frontends.batch.progress import LoadingBar
from llmdbg.frontends.batch.run import JsonWriter, TextWriter, run_batch
from llmdbg.frontends.log import route_libraries, route_transformers
from llmdbg.frontends.visible import visible
from llmdbg.models.loading import load
from llmdbg.models.tokens import encode_prompt

if TYPE_CHECKING:
    from llmdbg.debugger.saved import SavedSession
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.models.spec import ModelSpec


def launch(
    spec: ModelSpec,
    text: str,
    settings: GenerationSettings,
    commands: Sequence[str],
    *,
    chat: bool,
    system: str | None,
    json: bool,
    resumed: SavedSession | None = None,
) -> int:
    """Load the model, run the commands and return the exit code. Raises LlmdbgError."""
    route_libraries()
    route_transformers()
    _check_words(commands)
    with LoadingBar() as bar:
        loaded = load(spec, bar.update)
    vocabulary_size = int(loaded.model.get_input_embeddings().weight.shape[0])
    prompt = encode_prompt(loaded.tokenizer, text, chat=chat, system=system, vocabulary_size=vocabulary_size)
    for note in (*loaded.notes, *prompt.notes):
        print(f"note: {note}", file=sys.stderr)
    session = Session(loaded, prompt, settings)
    for note in restore(session, resumed) if resumed is not None else ():
        print(f"note: {visible(note)}", file=sys.stderr)
    run_batch(session, commands, JsonWriter(sys.stdout) if json else TextWriter(sys.stdout))
    return 0


def _check_words(commands: Sequence[str]) -> None:
    """Refuse an unknown command before a model is loaded for it."""
    for line in commands:
        if line.strip() and not line.strip().startswith("#"):
            COMMANDS.find(line.split()[0])
