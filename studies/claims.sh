#!/usr/bin/env bash
# Tests a claim of the reference (arXiv 2604.03803) with one of its configs. Start it again to go on.
#
#   bash studies/claims.sh CLAIM configs/deit_s_aircraft.py OUT [flags of the config]
#
# deit_s_flowers102.py and deit_s_imagenet100.py are the others. CLAIM is
#   accuracy    at keep rate 0.7 fine-tuning loses next to nothing against all patches
#   criteria    entropy is ahead of other scores at most keep rates
#   order       a larger order helps fine-grained tasks
#   tuning      the order can be tuned without training again
#   throughput  at 0.7 there is 55 % more, at 0.5 half of the multiply-adds are gone
#
# OUT gets the rows as JSON. Three seeds each, as `studies.trained` has them; wants a GPU.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

if (($# < 3)); then
  sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
claim="$1" out="$3"
flags=(--config="$2" "${@:4}")

study() { python -m "studies.$1" "${flags[@]}" --out="$out" "${@:2}"; }

case "$claim" in
  accuracy) study trained --keep_rates=1,0.7 --method=cls_attention --method="renyi 2" ;;
  criteria)
    study trained --keep_rates=0.7,0.5,0.3 \
      --method={cls_attention,"renyi 2",shannon,"sharp_received 2",random}
    ;;
  order) study trained --keep_rates=0.7 --method={cls_attention,"renyi 0.25","renyi 2","renyi 4"} ;;
  tuning)
    python -m renyi_jax.main "${flags[@]}" --workdir="$out/run"
    for i in "${!flags[@]}"; do # the weights of the run, where others were named
      [[ ${flags[i]} == --config.model.weights=* ]] && unset "flags[i]"
    done
    study untrained --config.model.weights="$out/run" --plans=orders
    ;;
  throughput)
    python -m renyi_jax.benchmark --model=deit_small_patch16_224 --keep_rates=1,0.7,0.5 \
      --criteria=renyi,cls_attention,random --out="$out/throughput"
    ;;
  *)
    echo "There is no claim '$claim'; known: accuracy, criteria, order, tuning, throughput." >&2
    exit 2
    ;;
esac
