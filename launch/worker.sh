#!/usr/bin/env bash
# One process of the main job on many machines, each of which runs this at the same time:
#   bash launch/worker.sh --workdir=DIR [flags of python -m renyi_jax.main]
#
# DIR is the same place for all of them: gs://, or a shared disk. Ends with
#   0    the run is done
#   75   it was told to stop, and saved: start it again and it goes on
#   2    the flags are wrong: starting it again would not help
#   else a fault
# main by itself ends with 0 in the first two cases: on one machine both are as they should be.
# PYTHON, VENV and ACCELERATOR are those of launch/local.sh.
set -euo pipefail
# shellcheck source=environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
help_if_asked "$@"

flag_value workdir "$@" >/dev/null || refuse "A worker needs --workdir=DIR, the same for all."
prepare_to_run

# Whoever stops a container or a job tells this shell alone, and it would keep that to itself.
told=0
# shellcheck disable=SC2329 # the trap calls it
tell() {
  told=$((told + 1))
  kill -TERM "$main" 2>/dev/null || true
}
"$VENV/bin/python" -m renyi_jax.main --stopped_status=75 "$@" &
main=$!
trap tell TERM INT
while :; do
  told_before=$told
  status=0
  wait "$main" || status=$?
  # A signal ends the wait, and not main.
  ((told != told_before)) || break
done

exit "$status"
