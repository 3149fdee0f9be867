#!/bin/sh
# edpo beside TRL and plain PyTorch on one GPU: same pairs, same token ids, one table.
#
#   sh bench/peers/run.sh OUT          # from the project's root, after a build; no network
#
# OUT gets tokens-*.jsonl, edpo.ndjson, torch.ndjson, table.txt and what the programs said (*.txt). Stops before it measures if either program sees no GPU.
# Exit code 1 if a part failed (it is named, the rest goes on). README.md beside this file says what is measured and how Python's packages get here.
#
#   MODELS="smollm2-135m qwen2.5-0.5b"   shapes of models.json       LENGTHS="hh"       of lengths.json: hh ultrafeedback
#   PAIRS=32 STEPS=5 SECONDS_EACH=60     pairs a step, steps timed and the longest they may take, for each system
#   BATCHES=4,8,16,32  BUDGET=16384      pairs a forward pass that PyTorch tries; edpo's rows a micro-batch
#   PYTHON=python3  WHEELS=FOLDER        wheels of what that Python lacks
#   REHEARSAL=1                          on a processor: a tiny shape, two steps, every line and the table marked
set -u
out=${1:?"usage: sh bench/peers/run.sh OUT"}
mkdir -p "$out"
python=${PYTHON:-python3}
rehearsal=${REHEARSAL:+--rehearsal}
models=${MODELS:-${REHEARSAL:+tiny}}; models=${models:-smollm2-135m qwen2.5-0.5b qwen2.5-1.5b gemma-2-2b}
lengths=${LENGTHS:-hh ultrafeedback}
pairs=${PAIRS:-${REHEARSAL:+4}}; pairs=${pairs:-32}
steps=${STEPS:-${REHEARSAL:+2}}; steps=${steps:-5}
scale=${SCALE:-${REHEARSAL:+0.15}}; scale=${scale:-1}
batches=${BATCHES:-${REHEARSAL:+2,4}}; batches=${batches:-4,8,16,32}
common="--pairs $pairs --warm ${WARM:-2} --steps $steps --seconds ${SECONDS_EACH:-60}"
bench="node dist/bench/main.js peers"
if [ -e "$out/edpo.ndjson" ] || [ -e "$out/torch.ndjson" ]; then echo "error: $out has figures of another run" >&2; exit 2; fi

if [ -n "${WHEELS:-}" ]; then
  "$python" -m pip install --quiet --no-index --no-deps --upgrade --target "$out/site-packages" "$WHEELS"/*.whl || exit 1
  # They come before what the machine has: bring only what it lacks. datasets hashes with dill, which takes modules elsewhere than in a site-packages for the program's own.
  PYTHONPATH=${PYTHONPATH:+$PYTHONPATH:}$out/site-packages; export PYTHONPATH
fi
if [ -z "$rehearsal" ]; then
  node bin/edpo.js doctor --json >"$out/doctor.json" 2>"$out/doctor.txt"
  grep -Eq '"kind": ?"hardware"' "$out/doctor.json" || { echo "error: edpo finds no GPU here, and a software adapter's figures are not a GPU's; REHEARSAL=1 runs all the same and says so" >&2; exit 2; }
  "$python" -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else "error: PyTorch sees no GPU here; REHEARSAL=1 runs all the same and says so")' || exit 2
fi

failed=""
for model in $models; do
  for length in $lengths; do
    name=$model-$length; tokens=$out/tokens-$name.jsonl
    $bench --write "$tokens" --model "$model" --lengths "$length" --scale "$scale" || exit 1
    echo "== $name: PyTorch" >&2
    "$python" bench/peers/torch_peers.py --model "$model" --lengths "$length" --tokens "$tokens" $common --batches "$batches" $rehearsal >>"$out/torch.ndjson" 2>"$out/torch-$name.txt" || { failed="$failed torch-$name"; tail -3 "$out/torch-$name.txt" >&2; }
    grep "pairs/s" "$out/torch-$name.txt" >&2
    echo "== $name: edpo" >&2
    $bench --model "$model" --lengths "$length" --tokens "$tokens" $common --budget "${BUDGET:-16384}" --out "$out/edpo.ndjson" $rehearsal 2>"$out/edpo-$name.txt" || { failed="$failed edpo-$name"; tail -3 "$out/edpo-$name.txt" >&2; }
    grep "pairs/s" "$out/edpo-$name.txt" >&2
  done
done
$bench --join "$out" | tee "$out/table.txt"
if [ -n "$failed" ]; then echo "failed:$failed" >&2; exit 1; fi
