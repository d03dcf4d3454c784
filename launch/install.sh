#!/usr/bin/env bash
# Makes .venv and installs what the main job needs, and runs nothing: bash launch/install.sh
#
# PYTHON=... chooses the Python, VENV=... another folder than .venv, ACCELERATOR=tpu or =cuda what
# JAX runs on.
set -euo pipefail
# shellcheck source=environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
help_if_asked "$@"

prepare_to_run
