"""Explanations of the current stop, of any stage and of terms; and the tour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.addresses import complete_address
from llmdbg.debugger.commands.grammar.base import Described, Grammar, starting
from llmdbg.debugger.commands.grammar.plain import Nothing
from llmdbg.debugger.commands.registry import COMMANDS, Answer, Moved, Outcome
from llmdbg.engine.debuggee import Capability, require
from llmdbg.errors import AddressError, CommandError, UsageError
from llmdbg.explain.glossary import GLOSSARY, TERM_NAMES, nearest_names, term
from llmdbg.explain.tour_routes import ROUTES, check_route
from llmdbg.formatting import listed

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words
    from llmdbg.debugger.debugger import Debugger


class TermName(Grammar[str]):
    """A glossary term or a stage; empty for the current stop."""

    usage = "[TERM]"

    def parse(self, arguments: str, command: Described) -> str:
        """Return it unchanged: a term may also be an address."""
        return arguments

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """Terms, and addresses."""
        return (*starting(typed, TERM_NAMES), *complete_address(typed, words))

    def addresses(self, parsed: str) -> tuple[str, ...]:
        """What is not a term of the glossary has to name a stage."""
        return (parsed,) if parsed and term(parsed) is None else ()

    def misnamed(self, parsed: str, error: AddressError) -> UsageError:
        """A term may have been meant."""
        return CommandError(_nothing_called(parsed, str(error)))


@COMMANDS.add(
    "explain",
    takes=TermName(),
    effect=Effect.READS,
    summary="Say in plain English what has happened here and why; or what a term means, or what a stage is for.",
    example="explain residual stream",
)
def _explain(debugger: Debugger, word: str) -> Outcome:
    from llmdbg.debugger.inspection.explaining import explain_here, explain_stage

    if not word:
        return Answer(explain_here(debugger.inspector))
    entry = term(word)
    try:
        target = debugger.run.stages.addresses.resolve(word)
    except AddressError as error:
        if entry is None:
            raise CommandError(_nothing_called(word, str(error))) from error
        return Answer(entry)
    # For a pattern, the first stage represents them all.
    stage = next(each for each in debugger.run.stages.all() if each.address in target.addresses)
    found = explain_stage(debugger.inspector, stage)
    return Answer(found if entry is None else (entry, found))


def _nothing_called(word: str, otherwise: str) -> str:
    near = nearest_names(word)
    looks_like_an_address = any(character in ".@*" or character.isdecimal() for character in word)
    if near and not looks_like_an_address:
        return f"there is no term {word!r}: did you mean {listed([*map(repr, near)], 'or')}?"
    return f"there is no term {word!r} in the glossary, and {otherwise}"


@COMMANDS.add(
    "glossary",
    takes=Nothing(),
    effect=Effect.READS,
    summary="List the terms that `explain` knows, each in a few words.",
    example="glossary",
)
def _glossary(_debugger: Debugger, _: None) -> Outcome:
    width = max(map(len, TERM_NAMES))
    return Answer(tuple(f"{each.name:{width}}  {each.first_sentence}" for each in GLOSSARY))


BACK = "back"


class WhereTo(Grammar[str]):
    """A route of the tour, or `back`; empty for the next stop."""

    usage = "[ROUTE | back]"

    def parse(self, arguments: str, command: Described) -> str:
        """Return it. Raises UsageError, which lists the routes, for what is none."""
        return arguments if arguments in ("", BACK) else check_route(arguments)

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The routes, and `back`."""
        return starting(typed, (*ROUTES, BACK))


@COMMANDS.add(
    "tour",
    takes=WhereTo(),
    effect=Effect.MOVES,
    summary="Go to the next stop of the tour, from the prompt to the second token; `back` to the one before, ROUTE to "
    "the beginning of another route.",
    example="tour",
)
def _tour(debugger: Debugger, to: str) -> Outcome:
    from llmdbg.debugger.inspection.touring import begin, go_back, go_on, tour_place

    if to:
        require(debugger.debuggee, Capability.GO_BACK)
        if to != BACK:
            return Moved(begin(debugger.inspector, to))
        stop = go_back(debugger.inspector)
        return Answer("this is the first stop of the tour") if stop is None else Moved(stop)

    at = tour_place(debugger.inspector)
    if (stop := go_on(debugger.inspector)) is not None:
        return Moved(stop)
    if at.title:
        return Answer("that was the last stop of the tour: `help` lists what else there is")
    back = Capability.GO_BACK in debugger.debuggee.capabilities
    hint = ": `goto tokenize` goes back to the first of them, and `tour` on from there" if back else ""
    return Answer(f"the run is past the stops of the tour{hint}")
