# Two commands do everything on a fresh machine: `make train` and `make test`.
PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
ARGS ?= group=1

.PHONY: train test lint speed

$(VENV)/.train: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet -e .
	touch $@

$(VENV)/.test: $(VENV)/.train
	$(RUN) -m pip install --quiet -e ".[dev]"
	touch $@

train: $(VENV)/.train  ## set up, then meta-train on the embedded data and test on held-out classes
	$(RUN) -m fewshot.meta_train $(ARGS)

test: $(VENV)/.test  ## set up, then run every test
	$(RUN) -m ruff check .
	$(RUN) -m pytest

lint: $(VENV)/.test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

speed: $(VENV)/.train  ## timings, as ratios within one run
	$(RUN) -m experiments.speed.jf
	$(RUN) -m experiments.speed.iou
	$(RUN) -m experiments.speed.cma
	$(RUN) -m experiments.speed.uniref
