"""The log file: tracebacks, and whatever libraries have to say. The user's own line goes to stderr or the screen."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def log_path() -> Path:
    """Where the log file is."""
    import platformdirs

    return platformdirs.user_log_path("llmdbg") / "llmdbg.log"


def record(error: BaseException) -> None:
    """Append a traceback to the log. A log that cannot be written is nothing to bother the user with."""
    text = "".join(traceback.format_exception(error))
    try:
        log_path().parent.mkdir(parents=True, exist_ok=True)
        with log_path().open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{text}\n")
    except OSError:
        pass


def route_libraries() -> None:
    """Send what libraries log and warn to the log file instead of the terminal."""
    logging.captureWarnings(True)
    handler: logging.Handler = logging.NullHandler()
    try:
        log_path().parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(log_path(), encoding="utf-8", errors="backslashreplace", delay=True)
    except OSError:
        pass
    handler.setFormatter(logging.Formatter(_FORMAT))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)


def route_transformers() -> None:
    """Make transformers and the Hub client use the routed logging, and draw no progress bars of their own."""
    import transformers.utils.logging as transformers_logging
    from huggingface_hub.utils.tqdm import disable_progress_bars

    transformers_logging.disable_default_handler()
    transformers_logging.enable_propagation()
    transformers_logging.disable_progress_bar()
    disable_progress_bars()
    for name in ("huggingface_hub", "accelerate", "torch"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
