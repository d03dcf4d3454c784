#!/usr/bin/env bash
# The tests: bash launch/test.sh [arguments of pytest; paths start at the repository]
#
# Makes .venv and installs what is needed the first time.
# PYTHON=... chooses the Python, VENV=... another folder than .venv.
set -euo pipefail
# shellcheck source=environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

prepare_environment requirements.txt requirements-dev.txt
cd -- "$ROOT"
# Processes that share the files among them, in the order of tests/conftest.py; -n 0 is one, as a
# debugger wants it.
exec "$VENV/bin/python" -m pytest -n auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder "$@"
