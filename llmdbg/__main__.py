"""`python -m llmdbg`."""

import sys

from llmdbg.cli import main

if __name__ == "__main__":
    sys.exit(main())
