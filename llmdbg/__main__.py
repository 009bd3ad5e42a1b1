"""`python -m llmdbg`."""

import os
import signal
import sys

if "RANK" in os.environ:
    # torchrun ends all ranks as soon as one is lost: this one has to be able to say so first.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

from llmdbg.cli import main

if __name__ == "__main__":
    sys.exit(main())
