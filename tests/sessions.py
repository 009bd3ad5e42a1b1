"""Sessions over tiny models, and a model folder as a user would have it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from llmdbg import open_session
from llmdbg.debugger.commands import COMMANDS, Outcome
from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.standing_questions import STANDING_QUESTIONS
from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.spec import LoadedModel
from llmdbg.models.tokens import encode_prompt
from llmdbg.probes.attribution import Attribution
from llmdbg.probes.lens import Lens
from llmdbg.probes.lens_table import LensTable
from tests.tiny import tiny_model

if TYPE_CHECKING:
    import pytest

TEXT = "The quick brown fox jumps over the lazy dog while seven wizards drink black tea and write long letters home."
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def tiny_session(name: str = "llama", text: str = "Hello there", **settings: Any) -> Debugger:
    """A session over a tiny model that is fed the bytes of `text`."""
    settings = {"max_new_tokens": 4, "greedy": True, **settings}
    if any(key in settings for key in ("temperature", "top_k", "top_p", "min_p")):
        settings["greedy"] = False
    loaded = LoadedModel(f"tiny {name}", tiny_model(name), None, "sdpa")
    return Debugger(Generation(loaded, encode_prompt(None, text, vocabulary_size=128), GenerationSettings(**settings)))


def opened(*arguments: Any, **more: Any) -> Debugger:
    """The debugger behind `llmdbg.open_session`."""
    return open_session(*arguments, **more).debugger


def do(debugger: Debugger, *lines: str) -> Outcome:
    """Run command lines. Returns what came of the last."""
    return [COMMANDS.run(debugger, line) for line in lines][-1]


def here(debugger: Debugger) -> str:
    """Where a session stands: `1.mlp@3` after that stage of generated token 3."""
    return f"{debugger.stop.stage.address}@{debugger.stop.token}"


def rows_through_the_head(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many vectors each product with the head takes from now on."""
    sizes: list[int] = []
    original = Lens.logits
    monkeypatch.setattr(
        Lens, "logits", lambda self, residual, **how: (sizes.append(len(residual)), original(self, residual, **how))[1]
    )
    return sizes


def tokens_run_again(debugger: Debugger) -> list[int]:
    """A list that grows whenever a token is run again."""
    runs: list[int] = []
    original = debugger.replay.run_token
    debugger.replay.run_token = lambda token, *rest: (runs.append(token), original(token, *rest))[1]  # type: ignore[method-assign]
    return runs


def lens_of(debugger: Debugger, arguments: str = "") -> LensTable:
    """What `info lens` answers with a table."""
    found = TOPICS["lens"].ask(debugger.inspector, arguments)
    assert isinstance(found, LensTable)
    return found


def attribution_of(debugger: Debugger, arguments: str = "") -> Attribution:
    """What `info attribution` answers with numbers."""
    found = TOPICS["attribution"].ask(debugger.inspector, arguments)
    assert isinstance(found, Attribution)
    return found


def answered(question: str, debugger: Debugger) -> Any:
    """What a pane gets for a standing question, such as `lens`."""
    return STANDING_QUESTIONS[question].ask(debugger.inspector)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer trained on a sentence, with a chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    specials = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    fast.chat_template = TEMPLATE
    return fast


def write_tiny_folder(folder: Path, context: int = 64) -> Path:
    """A whole model folder: configuration, safetensors, tokenizer. Context in tokens."""
    tokenizer = tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.25)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
