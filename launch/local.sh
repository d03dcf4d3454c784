#!/usr/bin/env bash
# The main job on this machine: bash launch/local.sh [flags of python -m renyi_jax.main]
#
# Makes .venv and installs what is needed the first time. Without flags it runs the quickstart.
# PYTHON=... chooses the Python, VENV=... another folder than .venv.
set -euo pipefail
# shellcheck source=environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"

config="$ROOT/configs/quickstart.py"
has_config=false
has_workdir=false
previous=""
for flag in "$@"; do
  case "$previous" in
    --config | -config) config="$flag" ;;
  esac
  case "$flag" in
    --config=* | -config=*) config="${flag#*=}" has_config=true ;;
    --config | -config) has_config=true ;;
    --workdir | -workdir | --workdir=* | -workdir=*) has_workdir=true ;;
  esac
  previous="$flag"
done

# One folder for each config, so that no run resumes from another's checkpoints.
name="${config##*/}"
$has_workdir || set -- "--workdir=$ROOT/runs/${name%%.py*}" "$@"
$has_config || set -- "--config=$config" "$@"

prepare_environment requirements.txt
exec "$VENV/bin/python" -m renyi_jax.main "$@"
