#!/usr/bin/env bash
# All that an NVIDIA GPU is to tell of this project, in one call of under ten minutes:
#
#   bash benchmarks/gpu.sh OUT [EVIT]
#
# Tests attention on the device, times its implementations beside each other, then whole models
# beside timm, eager and compiled, and beside EViT's code where a checkout of it is given. Leaves
# tables (*.txt) and JSON in OUT. Needs Python with JAX and PyTorch, and no network: WHEELS names a
# folder of wheels for what is missing, PYTHON the interpreter, STEPS the steps: "batches sizes tests
# attention" if not given, float32 and train beside them; BATCHES the batch sizes (64,1,256); PEERS
# who else runs (timm,timm_compiled).
set -uo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." || exit

out="${1:?Give a folder for the results: bash benchmarks/gpu.sh OUT [EVIT]}"
peers="${PEERS:-timm,timm_compiled}${2:+,evit:$2}"
python="${PYTHON:-python3}"
model="${MODEL:-deit_small_patch16_224}"
steps="${STEPS:-batches sizes tests attention}"
mkdir -p -- "$out"
export XLA_PYTHON_CLIENT_PREALLOCATE=false PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
if [[ -n ${WHEELS:-} ]]; then
  site="$(mktemp -d)"
  "$python" -m pip install -q --no-index --no-deps --no-compile --target "$site" "$WHEELS"/*.whl
  export PYTHONPATH="$site:$PYTHONPATH"
fi

step() {
  local name="$1" limit="$2" start=$SECONDS
  shift 2
  [[ " $steps " == *" $name "* ]] || return 0
  echo "== $name"
  timeout "$limit" "$@" >"$out/$name.txt" 2>"$out/$name.log" || echo "failed: see $out/$name.log"
  tail -n "${TAIL:-60}" "$out/$name.txt"
  echo "== $name took $((SECONDS - start)) s"
}

benchmark() {
  local name="$1" limit="$2"
  shift 2
  step "$name" "$limit" "$python" -m renyi_jax.benchmark --model="$model" --peers="$peers" \
    --keep_rates=0.7 --criteria=renyi,cls_attention,random --budget=0.5 --out="$out/$name" "$@"
}

benchmark batches 230 --dtype=bfloat16 --batch_size="${BATCHES:-64,1,256}"
benchmark sizes 210 --dtype=bfloat16 --batch_size=16 --image_size=1024
step tests 120 env JAX_PLATFORMS=cuda,cpu "$python" -m pytest -q -n 8 -p no:cacheprovider \
  tests/attention/test_on_gpu.py
step attention 150 "$python" benchmarks/gpu_attention.py --out="$out/attention.json"
benchmark float32 100 --dtype=float32 --batch_size=64
benchmark train 110 --dtype=bfloat16 --batch_size=64 --train
