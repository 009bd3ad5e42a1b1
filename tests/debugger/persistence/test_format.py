"""A saved session as JSON: what is written, and what is refused."""

import dataclasses
import json
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmdbg.debugger.persistence.format import from_json, to_json
from llmdbg.debugger.persistence.model import (
    SavedBreakpoint,
    SavedPosition,
    begin,
    describe,
)
from llmdbg.debugger.persistence.restore import restore
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import SessionFileError
from llmdbg.models.spec import ModelSpec
from tests.debugger.saving import PROMPT, document, started
from tests.sessions import tiny_session

WRONG: dict[str, list[Any]] = {
    "spec": ["tiny", {}, None],
    "spec.name": [3, ["x"]],
    "spec.dtype": ["complex", None],
    "spec.attn": ["magic"],
    "spec.quantize": ["1bit"],
    "spec.trust_remote_code": [1, "yes"],
    "settings.max_new_tokens": [0, 1.5, 2**60, True],
    "settings.temperature": [-1, "hot", True],
    "settings.seed": [-1, None, 2**40],
    "owner.pid": [2**40, -5, "1"],
    "owner.started": ["now"],
    "created": ["yesterday", "2026-01-01T00:00:00", 5],
    "updated": ["9999-99-99"],
    "chat": [0, None],
    "left_pad": [-1, "5", 2.0, 10**9, True],
    "system": [1],
    "breakpoints": [{}, "x", [1], [{"number": 1}]],
    "breakpoints.0.address": [1, "x" * 1000],
    "breakpoints.0.number": [-1, 2],
    "breakpoints.0.surprise": [1],
    "place.address": ["x" * 1000, None],
    "place.token": [5, -1],
    "generated": [[1, "x"], {"0": 1}, [1.5]],
    "focus": [-1, "last"],
    "rank": [-1, "all"],
    "layout": [[], None],
    "open": ["true"],
    "format": [0, "1", None, True],
    "id": [3],
    "surprise": [1],
    "prompt": ["hi"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_a_wrong_field_is_named(name, value):
    points = (SavedBreakpoint(1, "0", False, True, 0), SavedBreakpoint(2, "1", False, True, 0))
    whole = document(dataclasses.replace(started(), breakpoints=points))
    *path, last = [int(part) if part.isdecimal() else part for part in name.split(".")]
    inner = whole
    for part in path:
        inner = inner[part]
    inner[last] = value
    with pytest.raises(SessionFileError) as caught:
        from_json(json.dumps(whole), PROMPT)
    named = "address" if "address" in name else "breakpoints" if last == "number" else str(last).replace("_", "-")
    assert named in str(caught.value).replace("_", "-")
    assert caught.value.damaged


@pytest.mark.parametrize("name", sorted(document(begin(ModelSpec(), PROMPT, GenerationSettings()))))
def test_a_missing_field_is_named(name):
    whole = document(started())
    del whole[name]
    with pytest.raises(SessionFileError, match=name):
        from_json(json.dumps(whole), PROMPT)


@pytest.mark.parametrize("field", ["system", "id", "created"])
def test_half_a_surrogate_pair_is_refused(field):
    with pytest.raises(SessionFileError, match=r"not Unicode \(U\+D800\)"):
        from_json(json.dumps(document(started()) | {field: "a\ud800"}), PROMPT)


@pytest.mark.parametrize(
    "text",
    ["", "nul", "[" * 100_000, '{"a":' * 100_000, "9" * 5000, "1e999", "NaN", "[]", '"x"', "{" + "x" * 5 * 2**20],
)
def test_what_is_no_session_is_refused(text):
    with pytest.raises(SessionFileError):
        from_json(text, PROMPT)


@pytest.mark.parametrize("value", ["nul", "[" * 100_000, "9" * 5000, "1e999", "-Infinity", "NaN", "5" * 5 * 2**20])
def test_a_layout_cannot_be_everything(value):
    text = to_json(started()).replace('"layout": {}', f'"layout": {{"a": {value}}}')
    with pytest.raises(SessionFileError):
        from_json(text, PROMPT)
    assert from_json(to_json(started()).replace('"layout": {}', '"layout": {"a": [1.5]}'), PROMPT).layout == {
        "a": [1.5]
    }


def test_a_layout_too_deep_or_endless_is_not_written():
    endless: dict[str, Any] = {}
    endless["again"] = endless
    with pytest.raises(SessionFileError, match="deeper"):
        to_json(dataclasses.replace(started(), layout=endless))
    with pytest.raises(SessionFileError, match="deeper"):
        from_json(to_json(started()).replace('"layout": {}', '"layout": {"a": ' + "[" * 500 + "]" * 500 + "}"), PROMPT)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=150, deadline=2000)
@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")) | JSON.map(json.dumps), st.text())
def test_anything_at_all_is_read_or_refused(text, prompt):
    with pytest.raises(SessionFileError):
        from_json(text, prompt)


@settings(max_examples=300, deadline=2000)
@given(st.data())
def test_a_session_with_anything_in_it_is_read_or_refused(data):
    whole = document(dataclasses.replace(started(), breakpoints=(SavedBreakpoint(1, "0", False, True, 0),)))
    inner: Any = whole
    outer: Any = None
    name: Any = None
    while isinstance(inner, dict | list) and inner:
        outer = inner
        name = data.draw(st.sampled_from(sorted(outer) if isinstance(outer, dict) else range(len(outer))))
        inner = outer[name]
        if data.draw(st.booleans()):
            break
    outer[name] = data.draw(JSON)
    try:
        saved = from_json(json.dumps(whole), data.draw(st.text()))
    except SessionFileError as error:
        assert "\n" not in str(error) and str(error).isprintable()
    else:
        assert from_json(to_json(saved), saved.prompt) == saved
        assert describe(saved)
        assert isinstance(saved.owner.is_alive(), bool)


@cache
def one_session():
    return tiny_session(max_new_tokens=3)


@settings(max_examples=100, deadline=5000, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.text(max_size=300) | st.from_regex(r"[*?\[\]0-9.a-z@-]{0,40}", fullmatch=True), max_size=4),
    st.text(max_size=30) | st.sampled_from(["embed", "0", "logits", "sample", "*", "0-1.mlp"]),
    st.integers(0, 3),
)
def test_any_addresses_are_restored_or_told_of(addresses, place, token):
    points = tuple(SavedBreakpoint(number + 1, each, False, True, 0) for number, each in enumerate(addresses))
    session = one_session()
    session.breakpoints.delete()
    session.run.restart()
    restore(
        session,
        dataclasses.replace(started(), breakpoints=points, place=SavedPosition(place, token), generated=(1, 2, 3)),
    )
    assert session.stop.token <= token
