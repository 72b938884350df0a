# the first that runs and can make a .venv, the best tested first: a name in the PATH may be only a version manager's
PYTHON ?= $(shell for each in python3.11 python3.12 python3.13 python3.14 python3; do \
	$$each -c "import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))" 2>/dev/null && echo $$each && break; done)
BIN := .venv/bin
CPU_TORCH := https://download.pytorch.org/whl/cpu
OLDEST := .venv-oldest/bin

FUZZ_SECONDS ?= 1800
MUTANTS ?= 150

.PHONY: help setup demo check test oldest torture clips load cluster fuzz mutants bench gpu clean
help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

setup: .venv/.done ## make .venv with everything in it

# torch first and no build isolation: basicsr's build asks for torch, and must not download it a second time
.venv/.done: pyproject.toml scripts/basicsr_wheel.py
	@test -n "$(PYTHON)" || { echo "gfpcli needs Python 3.11 to 3.14 with its venv module: install one, or run make PYTHON=/path/to/python3"; exit 1; }
	@test -n "$(TORCH_INDEX)" || test "$$(uname)" != Linux || command -v nvidia-smi >/dev/null || \
		echo "No NVIDIA GPU here: make setup TORCH_INDEX=$(CPU_TORCH) leaves out CUDA, most of the disk space"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install -q $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch torchvision
	$(BIN)/pip install -q "setuptools>=68" wheel cython numpy unearth platformdirs
	wheel=$$($(BIN)/python scripts/basicsr_wheel.py) && \
		$(BIN)/pip install -q --no-build-isolation -e ".[dev]" $${wheel:+"$$wheel"}
	touch $@

demo: setup ## restore examples/photos into out/
	$(BIN)/gfp restore examples/photos -o out --model compact-512 --detector builtin --mask soft --offline

check: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy

# one thread each: two processes share the cores, and files of tests their fixtures
test: setup ## run the tests, two files at a time
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --dist loadfile

# aiobotocore[boto3] names the one boto3 that fits s3fs: without it pip tries hundreds
oldest: ## run the tests with the oldest release of each dependency that pyproject.toml allows, in .venv-oldest
	test -x $(OLDEST)/python || $(PYTHON) -m venv .venv-oldest
	$(PYTHON) -m tests.oldest > .venv-oldest/constraints.txt
	$(OLDEST)/python -m pip install -q -c .venv-oldest/constraints.txt "setuptools>=68" wheel cython numpy torch torchvision
	$(OLDEST)/python -m pip install -q -c .venv-oldest/constraints.txt --no-build-isolation -e ".[dev]" "aiobotocore[boto3]"
	$(OLDEST)/python -m pytest -q

torture: setup ## kill -9 at 26 random moments, Ctrl-C once (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.torture

clips: setup ## times, sound, kill -9 and memory on every clip of the shared data (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.clips

load: setup ## 2,000 photos in one run with its memory watched, and a batch ten times (minutes)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.load

cluster: setup ## 200 photos on two simulated Ray nodes: as locally, one node lost, the driver killed (minutes)
	GFP_RAY_PHOTOS=200 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -v tests/cluster/test_photos.py -k "two_nodes or is_lost or is_killed"

fuzz: setup ## coverage-guided fuzzing of the image and metadata readers and the checkpoint loader, FUZZ_SECONDS each
	$(BIN)/pip install -q atheris
	for kind in images metadata weights; do \
		$(BIN)/python -m tests.fuzz.seeds $$kind out/fuzz/$$kind/seeds && mkdir -p out/fuzz/$$kind/corpus && \
		OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz.fuzz_$$kind -max_total_time=$(FUZZ_SECONDS) -timeout=25 \
			-rss_limit_mb=1500 -max_len=16384 -artifact_prefix=out/fuzz/$$kind/ out/fuzz/$$kind/corpus out/fuzz/$$kind/seeds \
			|| exit 1; \
	done

mutants: setup ## change the code in MUTANTS small ways: how many do the nearest tests notice (an hour)
	GFP_TEST_DATA=$(abspath ../shared/data) OMP_NUM_THREADS=1 OPENCV_FOR_THREADS_NUM=1 $(BIN)/python -m tests.faults.mutants $(MUTANTS)

bench: setup ## time the original pipeline and this one in turn, and how time grows (an hour; QUICK=1: five minutes)
	$(BIN)/gfp bench --model compact --detector builtin --mask soft --offline
	$(BIN)/python examples/against_original.py $(if $(QUICK),--quick,--pairs 5 --json examples/figures/against_original.json)
	$(BIN)/python examples/growth.py $(if $(QUICK),--quick,--json examples/figures/growth.json)
	$(if $(QUICK),,$(BIN)/python examples/plots.py)

gpu: setup ## what a GPU makes of it: networks, photos, a clip of 1080p, within ten minutes (without one: says so)
	$(BIN)/python examples/gpu.py

clean: ## remove what was made
	rm -rf .venv .venv-oldest out build mutants *.egg-info
