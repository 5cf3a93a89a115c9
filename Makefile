# Everything is in run.py; `make` is only the shorter way to type it.
.PHONY: quickstart test check
PYTHON ?= python3

quickstart:  ## set up .venv, then run the whole of InstructGPT on the small world
	@$(PYTHON) run.py quickstart $(ARGS)

test:  ## set up .venv, then run the tests
	@$(PYTHON) run.py test $(ARGS)

check:  ## what CI runs: linters, types, import rules, tests
	@./.ci/run
