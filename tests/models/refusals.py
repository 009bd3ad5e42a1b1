"""Loading what cannot be loaded, and the one line it is refused with."""

import json

import pytest

from llmdbg.errors import LlmdbgError
from llmdbg.models.loading import load
from llmdbg.models.spec import ModelSpec


def spec(folder, **changes):
    return ModelSpec(str(folder), **changes)


def refusal(folder, kind, **changes):
    """Load, and return the one line it is refused with."""
    with pytest.raises(LlmdbgError) as caught:
        load(spec(folder, **changes))
    assert type(caught.value) is kind, repr(caught.value)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 420
    return message


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
