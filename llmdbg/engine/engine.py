"""The engine: a generator that stands still at every armed stage of a real `generate()`.

- The model's own forward runs, called by the model's own `generate()`, whose public `custom_generate` argument puts
  our decode loop (`loop.py`) in the place of its own.
- All of it runs in a greenlet. A hook on an armed module, or the loop itself, suspends it there.
- With nothing armed there is no hook on any module, no switch, and no tensor kept.
- An engine belongs to one thread: the one that first asks its generator for a stage.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Generator, Sequence
from typing import TYPE_CHECKING, Any

import torch
import transformers

from llmdbg.engine.loop import DecodeLoop
from llmdbg.engine.random_streams import RandomStreams
from llmdbg.engine.settings import GenerationSettings
from llmdbg.engine.stops import Stops
from llmdbg.engine.suspension import Suspension
from llmdbg.engine.visit import Visit, Visitor, always_suspend
from llmdbg.errors import GenerationError, LlmdbgError, PromptError
from llmdbg.models.stages import Stage

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel

    from llmdbg.models.anatomy import Anatomy


class Engine:
    """Generates after `prompt_ids` with the model's own forward, suspended at every armed stage.

    >>> engine = Engine(model, dissect(model), [1, 2418, 368], GenerationSettings(max_new_tokens=20))
    >>> engine.arm(["12", "sample"])
    >>> for visit in engine.stages():
    ...     print(visit.stage.address, visit.token)

    Raises PromptError for a prompt that is empty or longer than the model's context.
    """

    def __init__(
        self, model: PreTrainedModel, anatomy: Anatomy, prompt_ids: Sequence[int], settings: GenerationSettings
    ) -> None:
        check_prompt(prompt_ids, anatomy.context_length)
        self.anatomy = anatomy
        self.prompt_ids = tuple(prompt_ids)
        self._model = model
        self._settings = settings
        self._devices = {parameter.device for parameter in model.parameters()}
        self._stops = Stops(anatomy, self._devices)
        self._loop = DecodeLoop(anatomy, self._stops)

    @property
    def generated(self) -> tuple[int, ...]:
        """The ids generated so far, without the one being sampled."""
        return tuple(self._loop.generated)

    @property
    def processors(self) -> tuple[Stage, ...]:
        """The logits processors of this run in `generate()`'s order; known from the first visit on."""
        return self._loop.processors

    @property
    def config(self) -> GenerationConfig | None:
        """The generation config `generate()` settled on; known from the first visit on."""
        return self._loop.config

    @property
    def ended_by(self) -> str | None:
        """`eos`, `length` or `context` once the last token is chosen, else None."""
        return self._loop.ended_by

    def arm(self, addresses: Collection[str], visitor: Visitor = always_suspend) -> None:
        """Call `visitor` at exactly these stages from now on, and suspend where it returns True.

        May be called before the run and at any suspension. Addresses that no stage of this run has are ignored.
        """
        self._stops.arm(addresses, visitor)

    def interrupt(self) -> None:
        """Suspend at the next stage that carries a hook, or the next of the token loop. Safe from any thread."""
        self._stops.interrupted = True

    def stages(self) -> Generator[Visit, None, None]:
        """Yield a visit for every suspension; each is valid until the next is asked for.

        The first is always `tokenize`, the last always the last token's `sample` with `ended_by` set, armed or not.
        Closing the generator unwinds the forward and removes every hook. Raises GenerationError when the model's
        forward fails.
        """
        run: Suspension[Visit] = Suspension(self._generate, RandomStreams(self._devices))
        self._stops.run = run
        try:
            while (visit := run.resume()) is not None:
                yield visit
        except LlmdbgError:
            raise
        except Exception as error:
            reached = f"token {self._stops.token}, after stage {self._stops.last_stage.address}"
            text = " ".join(str(error).split()) or "no message"
            raise GenerationError(f"the forward failed at {reached}: {type(error).__name__}: {text[:300]}") from error
        finally:
            run.close()
            self._stops.run = None
            self._stops.clear()

    def _generate(self) -> None:
        transformers.set_seed(self._settings.seed)
        input_ids = torch.tensor([self.prompt_ids], device=self._model.device)  # (1, prompt)
        # Left to itself, generate() takes a pad token in the prompt for padding and hides it from the model.
        takes_mask = "attention_mask" in inspect.signature(self._model.forward).parameters
        self._model.generate(
            input_ids,
            **({"attention_mask": torch.ones_like(input_ids)} if takes_mask else {}),
            custom_generate=self._loop.run,
            **one_sequence(self._model.generation_config),
            **self._settings.generate_arguments(),
        )


def check_prompt(prompt_ids: Sequence[int], context_length: int | None) -> None:
    """Raise PromptError for a prompt that cannot be run."""
    if not prompt_ids:
        raise PromptError("the prompt is empty: give some text with -p TEXT or --prompt-file FILE")
    if context_length is not None and len(prompt_ids) > context_length:
        raise PromptError(
            f"the prompt is {len(prompt_ids)} tokens and this model's context holds {context_length}: shorten it"
        )


def one_sequence(config: GenerationConfig) -> dict[str, Any]:
    """The arguments that make `generate()` follow one sequence where a model's own config asks for several."""
    overrides = {"num_beams": 1, "num_return_sequences": 1}
    return {name: value for name, value in overrides.items() if (getattr(config, name, None) or value) != value}
