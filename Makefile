# Every chore is a verb. `make demo` and `make test` are the two that a fresh machine needs.
PYTHON ?= python3
SEED ?= 0
BIN := .venv/bin
# What was compiled is kept, whatever the shell says: tests start many processes that load the same modules.
unexport PYTHONDONTWRITEBYTECODE
WORKERS ?= 2
# A database, and what else tests share, for each worker; a file's tests stay together (tests/support/dealing.py).
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadgroup --no-loadscope-reorder --durations=10 $(PYTEST_OPTIONS)

.PHONY: demo up test unit deep mutants gallery lint audit bench tools lock clean

demo: .venv/ready
	$(BIN)/rankloop demo --out runs/demo --seed $(SEED)

up: .venv/ready
	$(BIN)/rankloop up

test: .venv/ready-test tools lint
	$(PYTEST)

unit: .venv/ready-test
	$(PYTEST) -m "not postgres and not ray and not browser and not slow and not deep and not gallery"

# What is rarely needed; each test says why. Half an hour and more.
deep: .venv/ready-test tools
	$(PYTEST) -m deep

# Every formula that counts, broken in turn: a test must fail for each.
mutants: .venv/ready-test
	$(BIN)/python -m tests.alignment.mutants

# All families of base models, and the table of them.
gallery: .venv/ready-test
	GALLERY_TABLE=docs/models.md $(BIN)/python -m pytest tests/gallery -m "gallery or not gallery"

lint: .venv/ready-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml

# What constraints.txt pins, against the known faults that PyPI publishes: it needs a network, and fails without one.
audit: .venv/ready
	$(PYTHON) -m venv .venv/audit
	.venv/audit/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	.venv/audit/bin/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r constraints.txt

bench: .venv/ready-test
	$(BIN)/python -m tests.benchmarks.bench_stages
	$(BIN)/python -m tests.benchmarks.bench_desk
	$(BIN)/python -m tests.benchmarks.bench_jobs
	$(BIN)/python -m tests.benchmarks.bench_data
	$(BIN)/python -m tests.benchmarks.bench_reward --memory
	$(BIN)/python -m tests.benchmarks.bench_ppo --growth 200

# What the tests need of the system, from its packages where it is missing: a browser, and networks of their own.
tools:
	@has() { for name; do command -v $$name >/dev/null && return; done; return 1; }; missing=; \
	has chromium chromium-browser google-chrome || missing="$$missing chromium"; \
	if [ "$$(uname)" = Linux ]; then \
	has ip || missing="$$missing iproute2"; \
	has unshare || missing="$$missing util-linux"; fi; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ $$(id -u) = 0 ]; then apt-get update -qq && apt-get install -y -qq $$missing; \
	else echo "The tests need$$missing: install them with your system's package manager."; exit 1; fi

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
