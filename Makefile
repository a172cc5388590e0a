# make demo: install, then train FCN-32s -> 16s -> 8s on the embedded data set.   make test: install, then run the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test tiny lint fuzz prototxt bench gpu-test gpu-bench clean

demo: $(VENV)/installed
	rm -rf runs/demo
	$(BIN)/python tools/solve.py small-fcn8s --data shapes --out runs/demo

test: $(VENV)/installed
	$(BIN)/python -m pytest

tiny: $(VENV)/installed
	$(BIN)/python -m pytest -m tiny

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/mypy

# 100,000 damaged files against every reader; stops at the first that is neither read nor refused
fuzz: $(VENV)/installed
	$(BIN)/python fuzz/run.py --inputs 100000

# write the committed prototxts again
prototxt: $(VENV)/installed
	$(BIN)/python -m prototxt

bench: $(VENV)/installed
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/fcn32s.py
	$(BIN)/python benchmarks/deconvolution.py
	$(BIN)/python benchmarks/files.py
	$(BIN)/python benchmarks/loss_sampling.py
	$(BIN)/python benchmarks/best_overlap.py
	$(BIN)/python benchmarks/bilinear_loss.py
	$(BIN)/python benchmarks/nms.py
	$(BIN)/python benchmarks/pairwise_transpose.py
	$(BIN)/python benchmarks/min_sum.py
	$(BIN)/python benchmarks/dense_sift.py

# These two need a CUDA device and use the Python they are given (make gpu-test PYTHON=python3.12); docs/gpu.md says
# which packages. Only files with GPU tests are read (the mark, or the kernels' fixture back_end, which has it): others
# import packages that such a machine may not have.
gpu-test:
	$(PYTHON) -c "import sys, torch; sys.exit(not torch.cuda.is_available() and 'no CUDA device')"
	$(PYTHON) -m pytest -m gpu $$(grep -rlE --include='test_*.py' 'mark\.gpu|back_end' tests)

gpu-bench:
	$(PYTHON) benchmarks/fcn32s.py --gpu 0
	$(PYTHON) benchmarks/pairwise_transpose.py --gpu 0
	$(PYTHON) benchmarks/bilinear_loss.py --gpu 0
	$(PYTHON) benchmarks/nms.py --gpu 0
	$(PYTHON) benchmarks/loss_sampling.py --gpu 0

# torch comes first and pinned: a looser requirement may pull another build
$(VENV)/installed: setup.py constraints.txt
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	  { echo "Python 3.11 or newer is needed; found $$($(PYTHON) --version). Try make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt torch
	$(BIN)/pip install -q -c constraints.txt -e '.[test,dev,tools,hdf5]'
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
