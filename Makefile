## make demo       everything from nothing: environment, captures, index, a running service, a real answer
## make test       every check and every test
## make stop       ends the service that make demo started
## make pretrain   makes the encoder that ships once more: two and a half hours on two cores

PYTHON ?= python3
RUN    ?= runs/demo
PORT   ?= 8000
PY     := .venv/bin/python
URL    := http://127.0.0.1:$(PORT)
# Two OpenMP pools on two cores stall each other; every process here uses one thread and works side by side.
export OMP_NUM_THREADS ?= 1

.PHONY: demo pretrain serve ask stop test check format protos clean
.DEFAULT_GOAL := help
help:
	@sed -n 's/^## //p' Makefile

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --upgrade pip
	$(PY) -m pip install --quiet --editable ".[trainer,dev]"
	$(PY) -m pip install --quiet --no-deps "milvus-lite>=3.2"
	@touch $@

demo: .venv/installed
	@$(PY) -m trainer demo --run $(RUN)
	@$(MAKE) --no-print-directory serve ask
	@echo
	@echo "The service is running: $(URL)   (log: $(RUN)/service.log; make stop ends it)"

pretrain: .venv/installed
	@$(PY) -m trainer pretrain --run runs/pretrain

serve: .venv/installed stop
	@nohup $(PY) -m service --index $(RUN)/index --samples $(RUN)/samples --port $(PORT) > $(RUN)/service.log 2>&1 & echo $$! > $(RUN)/service.pid

ask: .venv/installed
	@$(PY) -m trainer ask $(RUN)/sample --url $(URL) || { echo "the service's log:"; tail -n 20 $(RUN)/service.log; exit 1; }

stop:
	@if [ -f $(RUN)/service.pid ]; then kill $$(cat $(RUN)/service.pid) 2>/dev/null; rm -f $(RUN)/service.pid; fi; true

test: check
	$(PY) -m pytest -n auto --maxprocesses 4 --dist loadfile

check: .venv/installed
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy index trainer service

format: .venv/installed
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

protos: .venv/installed
	$(PY) -m grpc_tools.protoc -I. --python_out=. --pyi_out=. trainer/captures/protos/*.proto

clean: stop
	rm -rf $(RUN)
