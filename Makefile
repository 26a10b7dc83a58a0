# Two commands on a fresh machine: `make demo` and `make test`. Python >= 3.11 and make are all they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# processes that run tests side by side, each with databases of its own
PROCESSES ?= 2

.PHONY: demo test check wheels chaos outage fuzz test-shop bench translations lock clean

demo: $(VENV)/.installed
	$(BIN)/engage-plugin demo $(if $(ONCE),--once)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile --cov --cov-report=term $(PYTEST_ARGS)

# linters, spelling, types and import rules
check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/mypy
	$(BIN)/lint-imports

# what is installed on a server (engage-shop-plugin), and the sandbox and demonstration apart (engage-shop-plugin-sandbox)
wheels: $(VENV)/.installed
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation -w dist . ./distributions/sandbox

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.lock pyproject.toml $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	# an editable install sees the whole folder plugin/, the sandbox and the demonstration included
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	touch $@

# the long form of tests/e2e/test_chaos.py: 10,000 events, at least 200 kills; CHAOS_SEED repeats a run
chaos: $(VENV)/.installed-dev
	CHAOS_EVENTS=10000 CHAOS_PEOPLE=200 CHAOS_KILLS=200 $(BIN)/python -m pytest -q tests/e2e/test_chaos.py

# the long form of tests/platforms/test_fuzz.py: 100,000 damaged webhooks a platform; FUZZ_SEED repeats a run
fuzz: $(VENV)/.installed-dev
	FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)} FUZZ_COUNT=$${FUZZ_COUNT:-100000} $(BIN)/python -m pytest -q -s tests/platforms/test_fuzz.py

# a real shop end to end: installs Vendure (needs node and npm; some minutes, 300 MB) and lets people buy there
test-shop: $(VENV)/.installed-dev
	cd tests/shops/vendure && npm install --no-audit --no-fund
	$(BIN)/python -m pytest -q tests/e2e/test_vendure_shop.py

# the long form of tests/e2e/test_outage.py: two simulated days, 10,000 orders, 500 kills, and a crash at every step
# of the files' work; OUTAGE_SEED repeats a run
outage: $(VENV)/.installed-dev
	OUTAGE_ORDERS=10000 OUTAGE_KILLS=500 $(BIN)/python -m pytest -q tests/e2e/test_outage.py
	CRASH_STRIDE=1 $(BIN)/python -m pytest -q tests/webhooks/fallback/test_crashes.py

# benchmarks: ratios to a baseline in the same run; they fill database 9 of the local Redis
BENCHES := client_overhead throttle_rate acknowledgement delivery backlog backfill my_pages fallback_files latency history memory checkout
bench: $(VENV)/.installed-dev
	$(foreach name,$(BENCHES),$(BIN)/python -m bench.$(name);)

# the words of My Pages: reads them from the templates, brings each language's catalogue (.po) up to date and compiles it (.mo);
# then translate the new texts in mypages/translations/*/LC_MESSAGES/messages.po, and run this once more
CATALOGUE := var/messages.pot
translations: $(VENV)/.installed-dev
	mkdir -p var
	$(BIN)/pybabel -q extract -F babel.cfg --add-location=file --project=engage-shop-plugin -o $(CATALOGUE) mypages
	$(BIN)/pybabel -q update -i $(CATALOGUE) -d mypages/translations --no-fuzzy-matching --ignore-obsolete --width=120
	$(BIN)/pybabel -q compile -d mypages/translations

# writes both lock files again; needs uv
lock:
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--extra build -o requirements.lock pyproject.toml
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		--extra build --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml

clean:
	rm -rf $(VENV) var build *.egg-info
