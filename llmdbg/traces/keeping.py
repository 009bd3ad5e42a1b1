"""Which whole tensors to keep, as a person says it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from llmdbg.errors import UsageError
from llmdbg.traces.tensor_files import KEEPS, Keep


def parse_keep(words: Iterable[str], resolve: Callable[[str], frozenset[str]]) -> Keep:
    """What `none`, `last`, `all`, `inputs` or addresses mean; the latter may be several, separated by commas.

    `resolve` gives the stages of an address; it raises AddressError for none. Raises UsageError for `last`, `all` and
    so on beside anything else.
    """
    asked = [part.strip() for word in words for part in word.split(",") if part.strip()]
    named = [each for each in asked if each in KEEPS]
    if len(asked) > 1 and named:
        raise UsageError(f"--tensors {named[0]} goes with no other: give it alone, or addresses")
    if named:
        return KEEPS[named[0]]
    return Keep(addresses=frozenset(address for each in asked for address in resolve(each)))
