#!/bin/sh
# The first hour on a GPU: what it is, its ceilings, the kernels against them, a step and its profile, large buffers.
#
#   sh bench/first-hour.sh OUT        # from the project's root, after a build (no network, no npm needed)
#
# Figures go to OUT as NDJSON, tables and errors beside them as .txt (the last 25 lines of each are shown). A part that fails is named and the rest goes on; exit code 1 then.
# FAST=1 keeps every part to seconds: for a rehearsal on a software adapter.
set -u
out=${1:?"usage: sh bench/first-hour.sh OUT"}
mkdir -p "$out"
failed=""
part() { # part NAME command ...
  name=$1; shift
  echo "== $name: $*" >&2
  if "$@" >"$out/$name.ndjson" 2>"$out/$name.txt"; then grep -v '^Warning' "$out/$name.txt" | tail -25 >&2; else failed="$failed $name"; tail -3 "$out/$name.txt" >&2; fi
}
bench="node dist/bench/main.js"
runs=${FAST:+--runs 1}
part doctor node bin/edpo.js doctor --json
part ceilings $bench ceilings ${runs:---runs 7}
part ceilings-checked $bench ceilings ${runs:---runs 3} --toggles checked
part matmul $bench matmul ${runs:-} ${FAST:+--shapes 64x64x64}
[ -n "${FAST:-}" ] || part matmul-sweep $bench matmul --sweep --runs 3 --shapes 4096x4096x4096,16384x896x896,16384x4864x896,16384x896x4864
[ -n "${FAST:-}" ] || part attention-sweep $bench kernels --sweep --runs 3 --filter 'attention\.'
part kernels $bench kernels ${runs:-} ${FAST:+--filter 'rms_norm.*64'}
if [ -n "${FAST:-}" ]; then
  part step $bench step --runs 1 --pairs 2 --length 48 --layers 2
  part paths $bench paths --runs 1 --pairs 2 --length 48 --layers 1 --paths replay,by_fours
else
  for model in smollm2-135m qwen2.5-0.5b; do for dtype in float32 mixed_f16; do
    part step-$model-$dtype $bench step --model $model --lengths hh --dtype $dtype
  done; done
  # What each fused path is worth, in one process; then the head's logits kept, a ratio to step-qwen2.5-0.5b-mixed_f16 of this run.
  part paths $bench paths --model qwen2.5-0.5b --lengths hh --dtype mixed_f16 ${PATHS:+--paths $PATHS}
  part step-lora $bench step --model qwen2.5-0.5b --lengths hh --dtype mixed_f16 --lora_r 16
  part paths-lora $bench paths --model qwen2.5-0.5b --lengths hh --dtype mixed_f16 --lora_r 16 --paths lora_matrices,lora_operands,product_sums
  part step-kept-tiles $bench step --model qwen2.5-0.5b --lengths hh --dtype mixed_f16 --head_tiles kept
  part scaling $bench scaling --hidden 896 --layers 8 --runs 3
fi
part buffers $bench buffers
if [ -n "$failed" ]; then echo "failed:$failed" >&2; exit 1; fi
echo "all parts ran; figures in $out" >&2
