# Two commands do everything on a fresh machine: `make train` and `make test`.
PYTHON ?= python3
# An interpreter with torch>=2.11, torchvision, transformers>=5.17, einops, safetensors, scipy, numpy and pytest.
GPU_PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
ARGS ?= group=1
# Its source alone is published, which builds neither in isolation nor, on Python 3.11 and later, as pip builds by itself.
LEARN2LEARN = --no-deps --use-pep517 --no-build-isolation --config-settings=--global-option=build_ext learn2learn==0.2.0

.PHONY: train test lint format speed gpu

$(VENV)/.train: setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet -e .
	touch $@

$(VENV)/.test: $(VENV)/.train
	$(RUN) -m pip install --quiet -e ".[dev]"
	$(RUN) -m pip install --quiet $(LEARN2LEARN)
	touch $@

train: $(VENV)/.train  ## set up, then meta-train on the embedded data and test on held-out classes
	$(RUN) -m fewshot.meta_train $(ARGS)

test: $(VENV)/.test  ## set up, then ruff, mypy and every test
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(RUN) -m pytest -m "not gpu" -n 2

lint: $(VENV)/.test
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

format: $(VENV)/.test
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

speed: $(VENV)/.train  ## timings, as ratios within one run
	$(RUN) -m experiments.speed.jf
	$(RUN) -m experiments.speed.iou
	$(RUN) -m experiments.speed.video_metrics
	$(RUN) -m experiments.speed.cma
	$(RUN) -m experiments.speed.uniref
	$(RUN) -m experiments.speed.looks
	$(RUN) -m experiments.speed.sgmg
	$(RUN) -m experiments.speed.univs
	$(RUN) -m experiments.speed.video_length
	$(RUN) -m experiments.speed.loader

gpu:  ## tests and timings on a CUDA device, in the environment of GPU_PYTHON; skipped with the reason without a device
	$(GPU_PYTHON) -m pytest -m gpu tests/gpu
	$(GPU_PYTHON) -m experiments.speed.gpu
