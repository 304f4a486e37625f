# Every chore is a verb. `make demo` and `make test` are the two that a fresh machine needs.
PYTHON ?= python3
SEED ?= 0
BIN := .venv/bin

.PHONY: demo up test unit gallery lint bench browser lock clean

demo: .venv/ready
	$(BIN)/rankloop demo --out runs/demo --seed $(SEED)

up: .venv/ready
	$(BIN)/rankloop up

test: .venv/ready-test browser lint
	$(BIN)/python -m pytest

unit: .venv/ready-test
	$(BIN)/python -m pytest -m "not postgres and not ray and not browser and not slow"

# All families of base models, and the table of them.
gallery: .venv/ready-test
	GALLERY_TABLE=docs/models.md $(BIN)/python -m pytest tests/gallery -m "gallery or not gallery"

lint: .venv/ready-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

bench: .venv/ready-test
	$(BIN)/python -m tests.benchmarks.bench_stages
	$(BIN)/python -m tests.benchmarks.bench_desk
	$(BIN)/python -m tests.benchmarks.bench_jobs
	$(BIN)/python -m tests.benchmarks.bench_data
	$(BIN)/python -m tests.benchmarks.bench_reward --memory
	$(BIN)/python -m tests.benchmarks.bench_ppo --growth 200

# A Chromium for the browser tests, from the system's packages when none is found.
browser:
	@for name in chromium chromium-browser google-chrome; do command -v $$name >/dev/null && exit 0; done; \
	if [ $$(id -u) = 0 ]; then apt-get update -qq && apt-get install -y -qq chromium; \
	else echo "The browser tests need Chromium: install it with your system's package manager."; exit 1; fi

# torch alone comes first: with it in place nothing else asks for another build of it.
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

.venv/ready-test: .venv/ready
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

# Pin what the dependencies pull in. torch brings its own set, which differs between CPU and CUDA builds.
lock: .venv/ready-test
	$(BIN)/pip freeze --exclude-editable | grep -viE '^(torch|nvidia|triton|cuda)' > constraints.txt

clean:
	rm -rf .venv runs .pytest_cache .mypy_cache .ruff_cache
