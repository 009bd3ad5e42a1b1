"""What the stops of the tour are about. No torch here: the screen imports this before its first frame."""

from __future__ import annotations

from enum import StrEnum


class Topic(StrEnum):
    """What a stop of the tour is about."""

    PIECES = "pieces"
    MARKS = "marks"
    BEGINNING = "beginning"
    SPELLING = "spelling"
    CHAT = "chat"
    LOADING = "loading"
    DEVICE = "device"
    EMBEDDING = "embedding"
    PRODUCT = "product"
    SHARED_KEYS = "shared keys"
    ATTENTION = "attention"
    WINDOW = "window"
    STATE = "state"
    MLP = "mlp"
    STREAM = "stream"
    GROWTH = "growth"
    SCORES = "scores"
    SETTINGS = "settings"
    CHOICE = "choice"
    ENDING = "ending"
    CACHE = "cache"
