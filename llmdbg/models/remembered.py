"""Keeps what a function finds out about a model, which does not change."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

Subject = TypeVar("Subject")
Found = TypeVar("Found")


def remembered(function: Callable[[Subject], Found]) -> Callable[[Subject], Found]:
    """The same function, computed once for each argument, by identity or its own equality, for as long as that lives.

    It must depend on nothing else, and its result must not be changed.
    """
    known: WeakKeyDictionary[Subject, Found] = WeakKeyDictionary()

    @wraps(function)
    def look_up(subject: Subject) -> Found:
        if subject not in known:
            known[subject] = function(subject)
        return known[subject]

    return look_up
