#!/usr/bin/env bash
# The main job on a slice of Cloud TPUs, from its creation to its results:
#   bash launch/tpu_pod.sh --type=v5litepod-16 --zone=us-west4-a --spot [flags] -- \
#       --config=configs/deit_s_aircraft.py --workdir=gs://BUCKET/aircraft
#
# Creates the slice, copies this checkout to every worker, installs, runs the main job on all of
# them, copies the results here, and deletes the slice. A slice that is preempted is created again,
# and the run goes on from its last checkpoint. Stopped itself and started again with the same
# flags, this script goes on too. Needs gcloud, logged in.
#
#   --type=TYPE              v4-..., v5litepod-..., v5p-..., v6e-...: --accelerator-type of gcloud
#   --zone=ZONE
#   --name=NAME              of the slice; renyi-jax unless given
#   --project=PROJECT        gcloud's own unless given
#   --runtime_version=NAME   that of the type unless given
#   --spot                   cheaper, and preempted at any time
#   --max_starts=N           gives up after so many; 100 unless given
#   --out=DIR                for the results; runs/NAME unless given
#   --keep                   does not delete the slice when the run is done
#   --dry_run                prints what it would do, and does nothing
# After -- stand the flags of python -m renyi_jax.main.
set -euo pipefail
# shellcheck source=environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
# shellcheck source=cluster.sh
source "$ROOT/launch/cluster.sh"
help_if_asked "$@"

RETRY_SECONDS="${RETRY_SECONDS:-30}"

name=renyi-jax type="" zone="" project="" runtime_version="" spot=false max_starts=100 out="" keep=false
while (($#)); do
  case "$1" in
    --name=?*) name="${1#*=}" ;;
    --type=?*) type="${1#*=}" ;;
    --zone=?*) zone="${1#*=}" ;;
    --project=?*) project="${1#*=}" ;;
    --runtime_version=?*) runtime_version="${1#*=}" ;;
    --spot) spot=true ;;
    --max_starts=[1-9]*) max_starts="${1#*=}" ;;
    --out=?*) out="${1#*=}" ;;
    --keep) keep=true ;;
    --dry_run) dry_run=true ;;
    --)
      shift
      break
      ;;
    *) refuse "$0 does not know $1. Flags are written --name=value; those of the run stand after --." ;;
  esac
  shift
done
[[ -n $type ]] || refuse "Which TPUs? For example --type=v5litepod-16."
[[ -n $zone ]] || refuse "Where? For example --zone=us-west4-a."
case "$type" in
  v4-*) runtime_version="${runtime_version:-tpu-ubuntu2204-base}" ;;
  v5litepod-*) runtime_version="${runtime_version:-v2-alpha-tpuv5-lite}" ;;
  v5p-*) runtime_version="${runtime_version:-v2-alpha-tpuv5}" ;;
  v6e-*) runtime_version="${runtime_version:-v2-alpha-tpuv6e}" ;;
  *) [[ -n $runtime_version ]] || refuse "--type=$type: expected v4-N, v5litepod-N, v5p-N or v6e-N," \
    "or another with --runtime_version=NAME." ;;
esac
flag_value config "$@" >/dev/null || refuse "Which run? Give -- --config=FILE --workdir=gs://BUCKET/DIR."
workdir="$(flag_value workdir "$@")" || workdir=""
[[ $workdir == gs://?* ]] ||
  refuse "--workdir=$workdir: expected gs://BUCKET/DIR, which outlives the slice and which all see."
out="${out:-$ROOT/runs/$name}"

where=("--zone=$zone")
[[ -z $project ]] || where+=("--project=$project")

# The images of the slices have Python 3.10, so uv brings a newer one.
# shellcheck disable=SC2016 # the worker's shell expands it
INSTALL='set -e
mkdir -p ~/renyi_jax
tar -xzf ~/renyi_jax.tgz -C ~/renyi_jax
python3 -m pip install --quiet --user uv
python3 -m uv python install --quiet 3.12
PYTHON="$(python3 -m uv python find 3.12)" ACCELERATOR=tpu bash ~/renyi_jax/launch/install.sh'

# A unit of systemd outlives a broken connection: the next start first stops it, which saves.
WORK="sudo systemctl stop renyi_jax 2>/dev/null
cd ~/renyi_jax && sudo systemd-run --unit=renyi_jax --collect --quiet --wait --pipe --same-dir\
 --uid=\"\$(id -u)\" --setenv=HOME=\"\$HOME\" --setenv=ACCELERATOR=tpu\
 bash launch/worker.sh --distributed $(quote "$@")"

resource() {
  execute gcloud compute tpus queued-resources "$@" "${where[@]}"
}

on_every_worker() {
  execute gcloud compute tpus tpu-vm ssh "$name" --worker=all --quiet "--command=$1" "${where[@]}"
}

create() {
  local options=("--node-id=$name" "--accelerator-type=$type" "--runtime-version=$runtime_version")
  ! $spot || options+=(--spot)
  resource create "$name" "${options[@]}"
}

delete() {
  resource delete "$name" --force --quiet
}

# Empty where there is none.
slice_state() {
  dry_run=false resource describe "$name" "--format=value(state.state)" 2>/dev/null || true
}

ensure_slice() {
  local state
  if $dry_run; then
    note "Unless there is one already:"
    create
    note "Until it is ACTIVE:"
    resource describe "$name" "--format=value(state.state)"
    return
  fi
  state="$(slice_state)"
  case "$state" in
    "") create || return ;;
    FAILED | SUSPENDED | SUSPENDING)
      say "The slice $name is $state: creating it again ..."
      delete && create || return
      ;;
  esac
  while state="$(slice_state)" && [[ $state != ACTIVE ]]; do
    [[ $state != FAILED && $state != SUSPEND* ]] || return 1
    say "The slice $name is ${state:-being created} ..."
    sleep "$RETRY_SECONDS"
  done
}

ship() {
  execute tar -czf "$archive" --exclude='./.?*' --exclude=./runs --exclude=./tensorflow_datasets \
    -C "$ROOT" . &&
    execute gcloud compute tpus tpu-vm scp "$archive" "$name:renyi_jax.tgz" --worker=all --quiet \
      "${where[@]}"
}

interrupted() {
  say "The slice $name may still be there, and cost. To delete it:"
  dry_run=true
  delete >&2
  exit 130
}

start() {
  ensure_slice || return
  ever_active=true
  ship && on_every_worker "$INSTALL" && on_every_worker "$WORK"
}

if $dry_run; then
  archive=/tmp/renyi_jax.tgz
else
  archive="$(mktemp)"
  trap 'rm -f -- "$archive"' EXIT
  trap interrupted INT TERM
fi

ever_active=false
for ((number = 1; ; number++)); do
  status=0
  start || status=$?
  ((status != 0)) || break
  # What was wrong at first, and flags that main refuses, stay wrong.
  $ever_active || exit "$status"
  ((status != 2)) || refuse "The run cannot be started as it is. The slice $name is kept."
  if ((number == max_starts)); then
    say "Gave up after $number starts. The slice $name is kept."
    exit "$status"
  fi
  say "The run was interrupted (status $status). Start $((number + 1)) of at most $max_starts ..."
  sleep "$RETRY_SECONDS"
done
if $dry_run; then
  note "Whenever that ends before the run is done, all of it is done again, $max_starts times at most,"
  note "after $RETRY_SECONDS s; a slice that was preempted is deleted before:"
  delete
  note "When the run is done:"
fi

execute mkdir -p "$out"
execute gcloud storage rsync --recursive '--exclude=^(checkpoints|tensorboard)/' "$workdir" "$out"
$keep || delete
$dry_run || say "The results are in $out."
