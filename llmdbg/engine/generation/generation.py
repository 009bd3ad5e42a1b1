"""A generation: a real `generate()`, suspended at every armed stage.

- The model's own forward runs, called by the model's own `generate()`, whose public `custom_generate` argument replaces
  its decode loop by ours (`loop.py`).
- All of it runs in a greenlet. A hook on an armed module, or the loop itself, suspends it.
- With nothing armed there is no hook on any module, no switch, and no tensor kept.
- A generation belongs to the thread that first asks its generator for an event.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.engine.debuggee import ArmedStages, Capability, Clock, SamplingFacts, Timeline, Vocabulary
from llmdbg.engine.fingerprints import fingerprint_of
from llmdbg.engine.generation.blame import blamed
from llmdbg.engine.generation.cache_checks import check_cache
from llmdbg.engine.generation.decoding import default_length, instead_of, one_sequence, stop_strings
from llmdbg.engine.generation.loop import DecodeLoop
from llmdbg.engine.generation.processor_state import ProcessorState
from llmdbg.engine.generation.replay_state import ReplayState
from llmdbg.engine.generation.sampling_facts import sampling_facts
from llmdbg.engine.generation.timeline import GenerationTimeline
from llmdbg.engine.model_memory.hook_state import HookState
from llmdbg.engine.model_memory.module_state import ModuleState
from llmdbg.engine.random_streams import RandomStreams
from llmdbg.engine.settings import GenerationSettings
from llmdbg.engine.stage_event import StageEvent
from llmdbg.engine.stops import Stops
from llmdbg.engine.suspension import Suspension
from llmdbg.errors import GenerationError, LlmdbgError, PromptError, SettingsError
from llmdbg.models.anatomy import dissect, vocabulary_size
from llmdbg.models.tokens import TokenizerVocabulary

if TYPE_CHECKING:
    from types import FrameType

    from transformers import PreTrainedModel

    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.spec import LoadedModel
    from llmdbg.models.stages import Stage
    from llmdbg.models.tokens import Prompt


class Generation:
    """Generates after a prompt with the model's own forward, suspended at every armed stage: a `Debuggee`.

    >>> generation = Generation(loaded, prompt, GenerationSettings(max_new_tokens=20))
    >>> generation.stops.arm(["12", "sample"], always_suspend)
    >>> for event in generation.events():
    ...     print(event.stage.address, event.token)

    The first `prompt.padding` ids are left padding, which the attention mask hides. `anatomy` is the model's; read off
    its module tree if None. Raises PromptError for a prompt that is empty, longer than the model's context or outside
    its vocabulary, and for padding in a model without an attention mask.
    """

    capabilities = frozenset(
        (
            Capability.TOKENS,
            Capability.SAMPLING,
            Capability.EDIT,
            Capability.GO_BACK,
            Capability.FORK,
            Capability.MODEL,
            Capability.LINES,
            Capability.OPS,
        )
    )

    def __init__(
        self, loaded: LoadedModel, prompt: Prompt, settings: GenerationSettings, anatomy: Anatomy | None = None
    ) -> None:
        self._model = model = loaded.model
        self.anatomy = dissect(model) if anatomy is None else anatomy
        check_prompt(prompt.ids, self.anatomy.context_length, vocabulary_size(model))
        # A forward without this argument, even one with **kwargs, takes no mask.
        self._takes_mask = "attention_mask" in inspect.signature(model.forward).parameters
        if prompt.padding and not self._takes_mask:
            raise PromptError(f"{type(model).__name__} takes no attention mask, which left padding needs")
        if not 0 <= prompt.padding < len(prompt.ids):
            raise PromptError(
                f"the prompt has {len(prompt.ids)} tokens, and {prompt.padding} of them cannot be padding"
            )
        self.name = loaded.name
        self.place = f"{loaded.device} {loaded.dtype}"
        self.loaded: LoadedModel | None = loaded
        self.prompt = prompt
        self.settings: GenerationSettings | None = settings
        self._words = TokenizerVocabulary(loaded.tokenizer, vocabulary_size(model))
        self.vocabulary: Vocabulary = self._words
        self._tokenizer = loaded.tokenizer
        self._devices = {parameter.device for parameter in model.parameters()}
        self._past = ReplayState(RandomStreams(self._devices), ModuleState(model), ProcessorState(), HookState(model))
        self._stops = self._armed_stages(model)
        self.stops: ArmedStages = self._stops
        self.clock: Clock = self._stops.clock
        self._timeline = GenerationTimeline(len(prompt.ids), ((0, settings),))
        self._loop = self._decode_loop(0)

    def _armed_stages(self, model: PreTrainedModel) -> Stops:
        """The stages where it may suspend."""
        return Stops(model, self.anatomy, self._devices)

    @property
    def timeline(self) -> Timeline:
        """The current timeline."""
        return self._timeline

    @timeline.setter
    def timeline(self, timeline: Timeline) -> None:
        assert isinstance(timeline, GenerationTimeline)
        self._timeline = timeline

    def known_timeline(self, ids: Sequence[int], settings: tuple[tuple[int, GenerationSettings], ...]) -> Timeline:
        """A timeline of known tokens that have not been run: going there runs them from the prompt."""
        return GenerationTimeline(len(self.prompt.ids), settings, list(ids))

    @property
    def generated(self) -> tuple[int, ...]:
        """The ids generated so far, without the one being sampled."""
        ended = self._loop.ended is not None and self._stops.run is None
        return tuple(self._timeline.ids if ended else self._timeline.ids[: self._stops.token])

    @property
    def processors(self) -> tuple[Stage, ...]:
        """The stages of this run's logits processors, in `generate()`'s order; known from the first event on."""
        return self._loop.processors

    @property
    def sampling(self) -> SamplingFacts | None:
        """The sampling that `generate()` resolved; known from the first event on, None before."""
        config = self._loop.config
        if config is None:
            return None
        facts = sampling_facts(config, self._loop.processors, len(self.prompt.ids))
        other = instead_of(self._model.generation_config)
        return replace(facts, description=f"{facts.description} instead of {other}") if other else facts

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know: where `generate()` by itself would decode differently, what cannot be undone.

        Known from the first event on; the latter once it has been found out, at the end of a run. Also that the
        tokenizer failed, once it has.
        """
        failure = () if self._words.failure is None else (self._words.failure,)
        past = self._past
        return (*self._loop.notes, *past.modules.notes(), *past.processors.notes(), *past.hooks.notes(), *failure)

    @property
    def ended_by(self) -> str | None:
        """The last event's `ended_by` once the last token is chosen, else None."""
        return None if self._loop.ended is None else self._loop.ended[0]

    @property
    def cache(self) -> Any:
        """The KV cache of the current run as it is now; None if there is none (yet)."""
        return self._timeline.cache

    def frames(self) -> tuple[FrameType, ...]:
        """The Python frames of the suspended run, innermost first; none if nothing is suspended."""
        return () if self._stops.run is None else self._stops.run.frames()

    def events(self, token: int = 0) -> Generator[StageEvent, None, None]:
        """Yield an event at every suspension; each is valid until the next one.

        The run starts with the forward of generated token `token`, which `timeline` must have reached. To go back,
        close one run and start another. From 0 the first event is always `tokenize`. The last is always the last
        token's `sample` with `ended_by` set, armed or not. Closing the generator unwinds the forward and removes every
        hook. Raises SettingsError, before the first event, for generation settings that `generate()` refuses, and
        GenerationError if the model's forward fails.
        """
        while True:
            yield from self._run(token)
            if not self._loop.settings_change:
                return
            token = self._stops.token

    def _run(self, token: int) -> Generator[StageEvent, None, None]:
        """Generate from `token` on, until the settings change."""
        self._loop = self._decode_loop(token)
        settings = self._timeline.settings_at(token)
        run: Suspension[StageEvent] = Suspension(lambda: self._generate(settings), self._past.streams)
        self._stops.begin(run)
        try:
            while (event := run.resume()) is not None:
                yield event
        except LlmdbgError:
            raise
        # A model's own code may call `exit()` too.
        except (Exception, SystemExit) as error:
            if self._loop.config is None:
                raise _refused(error, self._blamed(settings)) from error
            reached = f"token {self._stops.token}, after stage {self._stops.last_stage.address}"
            text = " ".join(str(error).split()) or "no message"
            what, remedy = "the forward", ""
            if (owner := self._loop.asking) is not None:
                what, to_blame = type(owner).__name__, self._blamed(settings, owner)
                remedy = f": correct {to_blame} in the model's generation_config.json" if to_blame else ""
            message = f"{what} failed at {reached}: {type(error).__name__}: {text[:300]}{remedy}"
            raise GenerationError(message) from error
        else:
            if self._loop.config is None:
                raise SettingsError(
                    f"{type(self._model).__name__} has its own generation loop, which llmdbg cannot step"
                )
        finally:
            run.close()
            self._stops.end(for_good=not self._loop.settings_change)

    def _blamed(self, settings: GenerationSettings, failed: object | None = None) -> str:
        def prepare(loop: Callable[..., Any]) -> None:
            input_ids, arguments = self._generate_arguments(settings)
            self._model.generate(input_ids, **arguments, custom_generate=loop)

        return blamed(self._model, prepare, failed)

    def reopened(self, loaded: LoadedModel, prompt: Prompt, settings: GenerationSettings) -> Generation:
        """Another generation; nothing runs yet. Raises PromptError."""
        return Generation(loaded, prompt, settings)

    def untouched(self, tokens: int) -> tuple[list[int], list[int]]:
        """Run the unmodified `generate()` for `tokens` tokens, with no loop or hook of ours. No run may be active.

        Returns the generated ids, and for each a hash of the bits of its raw logits, as in `Timeline.fingerprints`.
        """
        assert self.settings is not None
        settings = replace(self.settings, max_new_tokens=tokens)
        self._past.begin()
        input_ids, arguments = self._generate_arguments(settings)
        with torch.random.fork_rng(self._gpus()):
            self._past.streams.seed(settings.seed)
            out: Any = self._model.generate(input_ids, **arguments, return_dict_in_generate=True, output_logits=True)
        ids = out.sequences[0, len(self.prompt.ids) :].tolist()
        return ids, [int(fingerprint_of(logits)) for logits in out.logits]

    def _gpus(self) -> list[int]:
        return sorted({device.index for device in self._devices if device.type == "cuda"})

    def _decode_loop(self, token: int) -> DecodeLoop:
        return DecodeLoop(self.anatomy, self._stops, self._timeline, self._past, token, self._tokenizer)

    def _generate(self, settings: GenerationSettings) -> None:
        self._past.streams.seed(settings.seed)
        input_ids, arguments = self._generate_arguments(settings)
        self._model.generate(input_ids, **arguments, custom_generate=self._loop.run)

    def _generate_arguments(self, settings: GenerationSettings) -> tuple[torch.Tensor, dict[str, Any]]:
        """The prompt's ids (1, prompt), and the other arguments of `generate()`."""
        input_ids = torch.tensor([self.prompt.ids], device=self._model.device)
        own = self._model.generation_config
        check_cache(self._model, len(self.prompt.ids), settings)
        # Without a mask, generate() would take any pad token in the prompt for padding and hide it from the model.
        mask = torch.ones_like(input_ids)
        mask[:, : self.prompt.padding] = 0
        return input_ids, {
            **({"attention_mask": mask} if self._takes_mask else {}),
            **one_sequence(own),
            **stop_strings(own, self._tokenizer),
            **default_length(self._model, len(self.prompt.ids), settings),
            **settings.generate_arguments(),
        }


def check_prompt(prompt_ids: Sequence[int], context_length: int | None, vocabulary_size: int | None) -> None:
    """Raise PromptError for a prompt that is empty, too long or outside the vocabulary. None: not checked."""
    if not prompt_ids:
        raise PromptError("the prompt is empty: give some text with -p TEXT or --prompt-file FILE")
    if context_length is not None and len(prompt_ids) > context_length:
        raise PromptError(
            f"the prompt is {len(prompt_ids)} tokens and this model's context holds {context_length}: shorten it"
        )
    if vocabulary_size is not None and max(prompt_ids) >= vocabulary_size:
        raise PromptError(
            f"the prompt has token {max(prompt_ids)} and the model's vocabulary ends at {vocabulary_size - 1}: the "
            "tokenizer's files do not belong to this model, or vocab_size in config.json is wrong"
        )


def _refused(error: BaseException, to_blame: str) -> LlmdbgError:
    """Translate an error that `generate()` raised before it reached our loop. `to_blame` is empty if nothing was."""
    text = " ".join(str(error).split())[:300] or type(error).__name__
    if isinstance(error, RuntimeError) and not to_blame:
        return GenerationError(f"generate() failed before the first forward: {type(error).__name__}: {text}")
    return SettingsError(
        f"generate() refuses {to_blame or 'the generation settings'} ({text}): correct the model's "
        "generation_config.json, or override what it says with an option, such as -n for the length"
    )
