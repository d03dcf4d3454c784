#!/usr/bin/env bash
# The main job on a slice of Cloud TPUs in GKE, as a JobSet:
#   docker build -f launch/Dockerfile -t REGISTRY/renyi_jax:tpu . && docker push REGISTRY/renyi_jax:tpu
#   bash launch/gke.sh --topology=v5e:4x4 --image=REGISTRY/renyi_jax:tpu [flags] -- \
#       --config=configs/deit_s_aircraft.py --workdir=gs://BUCKET/aircraft
#
# Fills in launch/gke_jobset.yaml and gives it to kubectl, whose current context is used. The JobSet
# starts all workers again after a fault or a preemption, and the run goes on from its checkpoint.
#
#   --topology=CHIP:SHAPE    v4, v5e, v5p or v6e, and the slice: v5e:4x4, v5p:4x4x4
#   --image=IMAGE            of launch/Dockerfile
#   --name=NAME              of the JobSet; renyi-jax unless given
#   --spot                   on spot machines
#   --dry_run                prints what it would do, and does nothing
# After -- stand the flags of python -m renyi_jax.main.
set -euo pipefail
# shellcheck source=environment.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/environment.sh"
# shellcheck source=cluster.sh
source "$ROOT/launch/cluster.sh"
help_if_asked "$@"

CHIPS_PER_MACHINE=4

name=renyi-jax topology="" image="" spot=false
while (($#)); do
  case "$1" in
    --name=?*) name="${1#*=}" ;;
    --topology=?*) topology="${1#*=}" ;;
    --image=?*) image="${1#*=}" ;;
    --spot) spot=true ;;
    --dry_run) dry_run=true ;;
    --)
      shift
      break
      ;;
    *) refuse "$0 does not know $1. Flags are written --name=value; those of the run stand after --." ;;
  esac
  shift
done
[[ $topology =~ ^(v4|v5e|v5p|v6e):([1-9][0-9]*x[1-9][0-9]*(x[1-9][0-9]*)?)$ ]] ||
  refuse "--topology=$topology: expected v4, v5e, v5p or v6e and a shape, as in v5e:4x4 or v5p:4x4x4."
shape="${BASH_REMATCH[2]}"
case "${BASH_REMATCH[1]}" in
  v4) accelerator=tpu-v4-podslice ;;
  v5e) accelerator=tpu-v5-lite-podslice ;;
  v5p) accelerator=tpu-v5p-slice ;;
  v6e) accelerator=tpu-v6e-slice ;;
esac
chips=$((${shape//x/*}))
((chips % CHIPS_PER_MACHINE == 0)) ||
  refuse "--topology=$topology: its $chips chips are no multiple of the $CHIPS_PER_MACHINE of a machine."
machines=$((chips / CHIPS_PER_MACHINE))
[[ $image =~ ^[A-Za-z0-9./:_@-]+$ ]] ||
  refuse "--image=$image: expected REGISTRY/renyi_jax:tpu, made of launch/Dockerfile."
[[ $name =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
  refuse "--name=$name: expected at most 40 small letters, digits and hyphens, a letter first."
flag_value config "$@" >/dev/null || refuse "Which run? Give -- --config=FILE --workdir=gs://BUCKET/DIR."
workdir="$(flag_value workdir "$@")" || workdir=""
[[ $workdir == gs://?* ]] ||
  refuse "--workdir=$workdir: expected gs://BUCKET/DIR, which outlives the workers and which all see."

# The words as a list of JSON, which YAML reads too; to Kubernetes, $(...) would be a variable.
as_list() {
  local word list=""
  for word in "$@"; do
    word="${word//\\/\\\\}"
    word="${word//\"/\\\"}"
    word="${word//\$(/\$\$(}"
    word="${word//$'\n'/\\n}"
    word="${word//$'\t'/\\t}"
    list="$list${list:+, }\"$word\""
  done
  printf '[%s]\n' "$list"
}

# The manifest, with another value after the keys that differ from run to run.
manifest() {
  local line indent
  while IFS= read -r line; do
    indent="${line%%[! ]*}"
    case "$line" in
      "  name: "*) line="${indent}name: $name" ;;
      *" parallelism: "*) line="${indent}parallelism: $machines" ;;
      *" completions: "*) line="${indent}completions: $machines" ;;
      *" image: "*) line="${indent}image: \"$image\"" ;;
      *" args: "*) line="${indent}args: $(as_list "$@")" ;;
      *"/gke-tpu-accelerator: "*) line="${line%%: *}: $accelerator" ;;
      *"/gke-tpu-topology: "*)
        line="${line%%: *}: $shape"
        ! $spot || line="$line"$'\n'"${indent}cloud.google.com/gke-spot: \"true\""
        ;;
    esac
    printf '%s\n' "$line"
  done < <(grep -v '^#' "$ROOT/launch/gke_jobset.yaml")
}

if $dry_run; then
  note "kubectl apply --filename=- reads:"
  manifest "$@"
else
  manifest "$@" | kubectl apply --filename=-
  say "To follow it: kubectl logs --follow --selector=jobset.sigs.k8s.io/jobset-name=$name"
  say "To end it:    kubectl delete jobset $name"
fi
