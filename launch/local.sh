#!/usr/bin/env bash
# The main job on this machine: bash launch/local.sh [flags of python -m renyi_jax.main]
#
# Makes .venv and installs what is needed the first time. Without flags it runs the quickstart.
# PYTHON=... chooses the Python, VENV=... another folder than .venv, ACCELERATOR=tpu or =cuda a JAX
# for what is in the machine. For the commands of this project in your own shell, activate it:
# source .venv/bin/activate; then python -m renyi_jax.main --help lists the flags.
set -euo pipefail
# shellcheck source=environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
help_if_asked "$@"

config="$(flag_value config "$@")" || config=""
# One folder for each config, so that no run resumes from another's checkpoints.
name="${config##*/}"
name="${name%%.py*}"
flag_value workdir "$@" >/dev/null || set -- "--workdir=$ROOT/runs/${name:-quickstart}" "$@"
[[ -n $config ]] || set -- "--config=$ROOT/configs/quickstart.py" "$@"

prepare_to_run
exec "$VENV/bin/python" -m renyi_jax.main "$@"
