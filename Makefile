# make demo    the main job on a small data set, offline        make lint    style, types and import rules
# make test    everything that has to hold before a merge       make docs    write docs/cli.md anew
# make bench   timings beside the peers                         make clean   remove what was made
# make calibration   docs/calibration.md anew: many minutes
# make claims   every claim at full scale, and docs/claims.md: up to hours; goes on where it was stopped
# make claims-smoke   every claim at smoke scale: whether the machinery runs, minutes
# make claims-power   docs/claims-power.md anew: many minutes
PYTHON ?= python3
BIN := .venv/bin
WORKERS ?= 2
EXTRAS ?= dev

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: demo test lint unit end-to-end bench docs calibration claims claims-power claims-smoke clean

demo: .venv/ready
	@$(BIN)/critbatch demo

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "critbatch needs Python 3.11 or newer as '$(PYTHON)'. Name another: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	  || { echo "'$(PYTHON)' cannot make environments. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@echo "Making .venv from pyproject.toml and constraints.txt: a few minutes, once."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

test: lint unit end-to-end
	@echo "All checks passed."

lint: .venv/ready
	@echo "== style"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . \
	  || { echo "Not formatted as ruff does it. Run: $(BIN)/ruff format ."; exit 1; }
	@echo "== types"
	@$(BIN)/pyrefly check --summary=none
	@echo "== imports"
	@$(BIN)/lint-imports --no-logo

# The checks of docs/ are tests too: tests/test_docs.py.
unit: .venv/ready
	@echo "== tests"
	@$(BIN)/python -m pytest -q -n $(WORKERS)

# Commands as a user types them; 3 says that a sweep this small carries no answer, which is right.
SMALL := --batch-sizes 16,256 --learning-rates 0.1,0.5 --seeds 2 --epochs 1 --steps 20

# Every claim, trained a little: whether plans, measurements and judges run. The verdicts mean nothing at this scale.
SMOKE := --all --scale smoke

claims-smoke: .venv/ready
	@$(BIN)/critbatch claims run $(SMOKE) --out critbatch-results/claims-smoke || [ $$? -eq 3 ]

end-to-end: .venv/ready
	@echo "== end to end"
	@out=$$(mktemp -d); trap 'rm -rf "$$out"' EXIT; \
	for command in "--version" "--help" "tasks" "measurements --json" "doctor" "run digits --dry-run" \
	  "run digits $(SMALL) --out $$out" "report $$out --json" "fit examples/steps.csv" "calibrate --quick" \
	  "noise digits --steps 50 --epochs 1 --out $$out/noise" "claims list" "claims judge" \
	  "claims run $(SMOKE) --out $$out/claims --no-progress"; do \
	  echo "critbatch $$command"; \
	  $(BIN)/critbatch $$command >"$$out/said" 2>&1 </dev/null || [ $$? -eq 3 ] || { cat "$$out/said"; exit 1; }; \
	done; \
	test -s "$$out/result.json" && test -s "$$out/report.html"

bench: .venv/ready
	@if [ -d benchmarks ]; then $(BIN)/python -m benchmarks; else echo "There is no benchmarks/ yet."; fi

docs: .venv/ready
	@$(BIN)/python docs/generate_cli.py > .venv/cli.md && mv .venv/cli.md docs/cli.md

calibration: .venv/ready
	@$(BIN)/python docs/generate_calibration.py > .venv/calibration.md && mv .venv/calibration.md docs/calibration.md

claims: .venv/ready
	@$(BIN)/critbatch claims run --all --scale full --out critbatch-results/claims --archive docs/evidence || [ $$? -eq 3 ]
	@$(BIN)/python docs/generate_claims.py

claims-power: .venv/ready
	@$(BIN)/python docs/generate_claims_power.py > .venv/claims-power.md && mv .venv/claims-power.md docs/claims-power.md

clean:
	@rm -rf .venv .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist critbatch-results
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
