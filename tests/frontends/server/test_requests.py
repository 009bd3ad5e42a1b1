"""Requests: what a client may set is what can be set anywhere, in the same words."""

from __future__ import annotations

from dataclasses import astuple, fields

import pytest

from llmdbg.engine.settings import GenerationSettings, SettingFields
from llmdbg.errors import UsageError
from llmdbg.frontends.answers.described_types import described_fields
from llmdbg.frontends.server.carrying_out import carry_out
from llmdbg.frontends.server.opening import Served
from llmdbg.frontends.server.permissions import Permissions
from llmdbg.frontends.server.requests import Open, Schema, request_of
from llmdbg.frontends.server.schema import arguments_schema
from llmdbg.frontends.server.served_run import ServedRun
from llmdbg.models.spec import ModelSpec

SETTINGS = {each.name for each in fields(GenerationSettings)}


def test_every_setting_can_be_asked_for_and_is_described_in_one_place() -> None:
    assert {each.name for each in fields(SettingFields)} == SETTINGS
    said = {each.name: each for each in described_fields(Open)}
    for each in described_fields(GenerationSettings):
        assert said[each.name] == each and each.description and each.optional
    asked = request_of("open", {"prompt": "Hi", "top_k": 5, "temperature": 0.5, "seed": 3})
    chosen = GenerationSettings(**{name: getattr(asked, name) for name in SETTINGS})
    assert chosen == GenerationSettings(None, False, 0.5, 5, seed=3)
    assert astuple(chosen)[:4] == (None, False, 0.5, 5)


def test_what_is_no_setting_is_refused_and_the_schema_lists_them() -> None:
    assert arguments_schema(Open)["properties"].keys() >= {*SETTINGS, "prompt", "most"}
    with pytest.raises(UsageError, match="open has no field 'beams': it takes most, max_new_tokens"):
        request_of("open", {"prompt": "Hi", "beams": 3})
    assert not hasattr(request_of("open", {"prompt": "Hi"}), "__dict__"), "it still has slots"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("stop", "the nearest are Stop and StopEvent, and"),
        ("lenstabel", "the nearest are LensTable, "),
        ("StopEvnt", "the nearest are StopEvent, "),
        ("xyzzy", "'xyzzy': `schema` without a name lists all"),
    ],
)
def test_the_nearest_schemas_are_named(name: str, near: str) -> None:
    run = ServedRun(Served(ModelSpec()), Permissions())
    journal = carry_out(run, Schema(name=name), lambda *_: None)
    assert near in journal.failure, journal.failure
    for every in (None, ""):
        [event] = carry_out(run, Schema(name=every), lambda *_: None).events
        assert "StopEvent" in event["found"]
