"""What the tests of saved sessions share."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.persistence.format import to_json
from llmdbg.debugger.persistence.model import begin, this_process
from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.spec import ModelSpec

PROMPT = "Hello there"
SAMPLED = {"max_new_tokens": 6, "temperature": 1.5, "top_k": 50, "seed": 7}


def run(session, *lines):
    for line in lines:
        COMMANDS.run(session, line)
    return session


def started(**settings):
    return begin(ModelSpec("tiny"), PROMPT, GenerationSettings(**settings or {"max_new_tokens": 4, "greedy": True}))


def gone():
    """An owner that lived, and does no more."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return dataclasses.replace(this_process(), pid=process.pid)


def document(saved):
    return json.loads(to_json(saved))
