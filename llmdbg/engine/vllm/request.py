"""A request to a vLLM engine, suspended at every armed stage: a `Debuggee`.

- The engine's own forward, scheduler and sampler run, one step of the engine after the other, in a greenlet.
- Hooks stand on the armed modules alone, as with `generate()`; the sampler's steps are stages while a run lasts.
- One request is alone in the engine: the rows of vLLM's flattened batch (tokens, width) are its positions.
- Going back runs the request again with the tokens it had: the prompt in one forward, each token in one more, prefix
  caching off, and the same seed, so every forward has the inputs and the shapes that it had.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.engine.debuggee import ArmedStages, Capability, Clock, PagedCache, SamplingFacts, Timeline, Vocabulary
from llmdbg.engine.fingerprints import fingerprint_of
from llmdbg.engine.random_streams import RandomStreams
from llmdbg.engine.residual_views import views_of
from llmdbg.engine.sampler_steps import processor_stages, sampling_facts
from llmdbg.engine.served_model import anatomy_of
from llmdbg.engine.stage_event import StageEvent
from llmdbg.engine.stops import Stops
from llmdbg.engine.suspension import Suspension
from llmdbg.engine.vllm.sampling import SamplerStages, sampling_parameters
from llmdbg.engine.vllm.timeline import RequestTimeline
from llmdbg.errors import GenerationError, LlmdbgError, PromptError, SettingsError
from llmdbg.models.stages import SAMPLE, TOKENIZE, Phase, Stage
from llmdbg.models.tokens import TokenizerVocabulary

if TYPE_CHECKING:
    from types import FrameType

    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.engine.vllm.loading import ServedEngine
    from llmdbg.models.spec import LoadedModel
    from llmdbg.models.tokens import Prompt

_NUMBERS = itertools.count()


class VllmRequest:
    """Generates after a prompt with a vLLM engine's own forward. Raises PromptError for a prompt that does not fit."""

    capabilities = frozenset(
        (
            Capability.TOKENS,
            Capability.SAMPLING,
            Capability.EDIT,
            Capability.GO_BACK,
            Capability.FORK,
            Capability.MODEL,
        )
    )

    def __init__(self, engine: ServedEngine, prompt: Prompt, settings: GenerationSettings) -> None:
        self._engine, self._llm = engine, engine.llm
        self.loaded: LoadedModel | None = engine.loaded
        model: Any = engine.loaded.model
        self._generation_config = model.generation_config
        if not prompt.ids:
            raise PromptError("the prompt is empty: give some text with -p TEXT or --prompt-file FILE")
        if len(prompt.ids) >= engine.context_length:
            raise PromptError(
                f"the prompt is {len(prompt.ids)} tokens and this engine holds {engine.context_length}, the new ones "
                "included: shorten it, or give vLLM more memory for its KV cache (VLLM_CPU_KVCACHE_SPACE, in GiB)"
            )
        if prompt.padding:
            raise PromptError("vLLM pads no prompt, in a batch neither: leave out --left-pad")
        self.anatomy = anatomy_of(model, engine.context_length)
        self.name = f"{engine.loaded.name} in vLLM"
        self.place = f"{engine.loaded.device} {engine.loaded.dtype}"
        self.prompt = prompt
        self.settings: GenerationSettings | None = settings
        self._words = TokenizerVocabulary(engine.loaded.tokenizer, _vocabulary_size(model))
        self.vocabulary: Vocabulary = self._words
        devices = {parameter.device for parameter in model.parameters()}
        self._streams = RandomStreams(devices)
        self._stops = Stops(model, self.anatomy, devices, views_of(self.anatomy))
        self.stops: ArmedStages = self._stops
        self.clock: Clock = self._stops.clock
        self._timeline = RequestTimeline(((0, settings),))
        self._parameters: Any = None
        self._ended: tuple[str, str | None] | None = None
        self._changes = False
        self._id: str | None = None

    @property
    def timeline(self) -> Timeline:
        """The current timeline."""
        return self._timeline

    @timeline.setter
    def timeline(self, timeline: Timeline) -> None:
        assert isinstance(timeline, RequestTimeline)
        self._timeline = timeline

    def known_timeline(self, ids: Sequence[int], settings: tuple[tuple[int, GenerationSettings], ...]) -> Timeline:
        """A timeline of known tokens that have not been run: going there runs them from the prompt."""
        return RequestTimeline(settings, list(ids))

    @property
    def generated(self) -> tuple[int, ...]:
        """The ids generated so far, without the one being sampled."""
        ended = self._ended is not None and self._stops.run is None
        return tuple(self._timeline.ids if ended else self._timeline.ids[: self._stops.token])

    @property
    def processors(self) -> tuple[Stage, ...]:
        """The stages of the sampler that change scores, in vLLM's order; known from the first event on."""
        return () if self._parameters is None else processor_stages([self._parameters])

    @property
    def sampling(self) -> SamplingFacts | None:
        """How vLLM was asked to choose; known from the first event on, None before."""
        return None if self._parameters is None else sampling_facts(self._parameters)

    @property
    def notes(self) -> tuple[str, ...]:
        """That the tokenizer failed, once it has."""
        return () if self._words.failure is None else (self._words.failure,)

    @property
    def cache(self) -> Any:
        """The blocks that vLLM has given the request; none before its first forward and after its end."""
        engine, ids = self._llm.llm_engine, ()
        if self._stops.run is not None and self._id is not None:
            ids, *_ = engine.engine_core.engine_core.scheduler.kv_cache_manager.get_block_ids(self._id)
        config = engine.vllm_config.cache_config
        return PagedCache("vLLM", tuple(map(int, ids)), int(config.block_size), int(config.num_gpu_blocks))

    def frames(self) -> tuple[FrameType, ...]:
        """The Python frames of the suspended run, innermost first; none if nothing is suspended."""
        return () if self._stops.run is None else self._stops.run.frames()

    def events(self, token: int = 0) -> Generator[StageEvent, None, None]:
        """Yield an event at every suspension; each is valid until the next one.

        The run starts with the forward of generated token `token`, which `timeline` must have reached; earlier ones run
        again without stopping. From 0 the first event is always `tokenize`. The last is always the last token's
        `sample` with `ended_by` set, armed or not. Closing the generator unwinds the forward, removes every hook and
        ends the request. Raises SettingsError for settings that vLLM refuses, and GenerationError if its forward fails.
        """
        while True:
            yield from self._run(token)
            if not self._changes:
                return
            token = self._stops.token

    def untouched(self, tokens: int) -> tuple[list[int], list[int]]:
        """Run the request through vLLM's own `generate()` for `tokens` tokens. No run may be active.

        Returns the generated ids, and for each a hash of the bits of its raw logits, as in `Timeline.fingerprints`. The
        ids are of a run with no hook of ours; the hashes of a second one, with one hook that reads the sampler's input.
        """
        assert self.settings is not None
        parameters = self._parameters_of(replace(self.settings, max_new_tokens=tokens))
        hashes: list[int] = []

        def read(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            logits = kwargs["logits"] if "logits" in kwargs else args[0]
            hashes.append(int(fingerprint_of(logits.to(torch.float32))))

        ids = self._generated_by_vllm(parameters)
        handle = self._engine.runner.sampler.register_forward_pre_hook(read, with_kwargs=True)
        try:
            again = self._generated_by_vllm(parameters)
        finally:
            handle.remove()
        if again != ids:
            raise GenerationError("vLLM generates other tokens when it runs the same request again")
        return ids, hashes

    def _generated_by_vllm(self, parameters: Any) -> list[int]:
        prompt = {"prompt_token_ids": list(self.prompt.ids)}
        [found] = self._llm.generate([prompt], parameters, use_tqdm=False)
        return list(found.outputs[0].token_ids)

    def _parameters_of(self, settings: GenerationSettings) -> Any:
        try:
            return sampling_parameters(self._llm, settings, self._generation_config)
        except (ValueError, TypeError) as error:
            raise SettingsError(f"vLLM refuses the settings: {' '.join(str(error).split())[:300]}") from error

    def _run(self, token: int) -> Generator[StageEvent, None, None]:
        """Generate from `token` on, until the settings change."""
        self._ended, self._changes = None, False
        self._parameters = self._parameters_of(self._timeline.settings_at(token))
        run: Suspension[StageEvent] = Suspension(lambda: self._generate(token), self._streams)
        self._stops.token = 0
        self._stops.begin(run)
        try:
            while (event := run.resume()) is not None:
                yield event
        except LlmdbgError:
            raise
        # A model's own code may call `exit()` too.
        except (Exception, SystemExit) as error:
            reached = f"token {self._stops.token}, after stage {self._stops.last_stage.address}"
            text = " ".join(str(error).split())[:300] or "no message"
            raise GenerationError(f"vLLM failed at {reached}: {type(error).__name__}: {text}") from error
        finally:
            run.close()
            self._stops.end(for_good=not self._changes)

    def _generate(self, start: int) -> None:
        """Run the request. Called in the greenlet."""
        self._at(0)
        if start == 0:
            ids = torch.tensor([self.prompt.ids])
            self._stops.suspend(StageEvent(TOKENIZE, Phase.PREFILL, 0, ids))
        else:
            self._stops.hold()
        sampler = SamplerStages(self._engine.runner, self._stops, self.anatomy.stage("logits"), self.processors)
        sampler.timeline = self._timeline
        engine, name = self._llm.llm_engine, f"llmdbg-{next(_NUMBERS)}"
        change = self._timeline.next_change(start)
        self._id = engine.add_request(name, {"prompt_token_ids": list(self.prompt.ids)}, self._parameters)
        try:
            with sampler.standing_around():
                self._steps(engine, sampler, start, change)
        finally:
            self._id = None
            engine.abort_request([name])

    def _steps(self, engine: Any, sampler: SamplerStages, start: int, change: int | None) -> None:
        """Run one step of the engine for each token."""
        timeline, token = self._timeline, 0
        while engine.has_unfinished_requests():
            self._at(token)
            if token == start:
                self._stops.release()
            self._stops.clock.begin_token()
            sampler.overrides = timeline.overrides.get(token)
            sampler.known = timeline.ids[token] if token < start else None
            chosen, ended = self._one_step(engine, token)
            self._ended = ended
            if token >= start:
                output = torch.tensor([chosen])
                scores = sampler.trail[-1][1]
                self._stops.leave(SAMPLE, (scores,), {}, output, sampler.trail, chosen, ended)
                timeline.took(token, chosen)
            sampler.trail = ()
            token += 1
            if token == change and ended is None:
                self._at(token)
                self._changes = True
                return

    def _one_step(self, engine: Any, token: int) -> tuple[int, tuple[str, str | None] | None]:
        """Have the engine produce a token: its id, and why generation ends with it, None if it goes on."""
        while True:
            for found in engine.step():
                completion = found.outputs[0]
                if len(completion.token_ids) > token:
                    return int(completion.token_ids[token]), self._ending(completion, token)
            if not engine.has_unfinished_requests():
                raise GenerationError(f"vLLM ended the request without token {token}")

    def _ending(self, completion: Any, token: int) -> tuple[str, str | None] | None:
        if completion.finish_reason is None:
            return None
        if completion.finish_reason == "stop":
            said = completion.stop_reason
            return ("stop_string", said) if isinstance(said, str) else ("eos", None)
        if completion.finish_reason == "length":
            limit = self._parameters.max_tokens
            return ("length" if limit is not None and token + 1 >= limit else "context"), None
        return "criterion", str(completion.finish_reason)

    def _at(self, token: int) -> None:
        self._stops.token = token
        self._stops.phase = Phase.DECODE if token else Phase.PREFILL


def _vocabulary_size(model: Any) -> int:
    return int(model.config.get_text_config(decoder=True).vocab_size)
