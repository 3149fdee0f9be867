#!/usr/bin/env bash
# A whole Anthropic-HH experiment, unattended: SFT, one reference cache, preference training for every loss and β, win rates with the KL
# beside them, one report. Run it again after a crash or a reboot: what is finished stays, what was cut off goes on.
#
#   OUT=runs/hh JUDGE=pairrm:models/PairRM-hf examples/hh/run.sh
#
# Defaults are the setting of arXiv 2502.13177 (gemma-2-2b, Fig. 5); everything is taken from the environment:
#   OUT         folder of everything                 SFT_CONFIG  what SFT learns from (configs/hh-sft.yaml)
#   LOSSES      sigmoid epsilon_dpo                  CONFIG      what preference training shares (configs/hh.yaml)
#   BETAS       0.01 0.05 0.1 0.5                    PROMPTS     data of the win rate: a file, or a folder with a test split
#   JUDGE       any judge of edpo eval-winrate       EDPO        the command (npx edpo)
#   SFT_FLAGS, TRAIN_FLAGS, WINRATE_FLAGS            more flags for each, e.g. TRAIN_FLAGS="--max_train_samples 1000"
set -euo pipefail

OUT=${OUT:-runs/hh}
LOSSES=${LOSSES:-sigmoid epsilon_dpo}
BETAS=${BETAS:-0.01 0.05 0.1 0.5}
SFT_CONFIG=${SFT_CONFIG:-configs/hh-sft.yaml}
CONFIG=${CONFIG:-configs/hh.yaml}
PROMPTS=${PROMPTS:-data/hh-rlhf/helpful-base}
JUDGE=${JUDGE:?a judge for the win rate, e.g. JUDGE=pairrm:models/PairRM-hf}
read -ra EDPO <<<"${EDPO:-npx edpo}"
read -ra SFT_FLAGS <<<"${SFT_FLAGS:-}"
read -ra TRAIN_FLAGS <<<"${TRAIN_FLAGS:-}"
read -ra WINRATE_FLAGS <<<"${WINRATE_FLAGS:-}"

say() { printf '\n== %s\n' "$*" >&2; }

# train_to FOLDER COMMAND FLAGS...: run.json is the last file a finished run writes.
train_to() {
  local folder=$1 command=$2 how=(--overwrite_output_dir true)
  shift 2
  [ ! -e "$folder/run.json" ] || { say "$folder is finished"; return; }
  ! compgen -G "$folder/checkpoint-*/trainer_state.json" >/dev/null || how=(--resume)
  say "$command into $folder"
  "${EDPO[@]}" "$command" --output_dir "$folder" "${how[@]}" "$@" >/dev/null
}

sft=$OUT/sft
cache=$OUT/ref_cache
train_to "$sft" sft --config "$SFT_CONFIG" "${SFT_FLAGS[@]}"

# One cache serves every β and both losses; a cut-off one goes on, a whole one is only checked.
say "reference cache in $cache"
"${EDPO[@]}" precompute-ref --config "$CONFIG" --model_name_or_path "$sft" --loss_type epsilon_dpo --ref_cache "$cache" --resume "${TRAIN_FLAGS[@]}" >/dev/null

runs=()
for loss in $LOSSES; do
  for beta in $BETAS; do
    run=$OUT/$loss-beta$beta
    runs+=("$run")
    train_to "$run" train --config "$CONFIG" --model_name_or_path "$sft" --ref_cache "$cache" --loss_type "$loss" --beta "$beta" "${TRAIN_FLAGS[@]}"
    # Answers and verdicts that are there are kept; a finished win rate only reads its own files again.
    [ -e "$run/winrate/winrate.json" ] || {
      say "win rate of $run"
      "${EDPO[@]}" eval-winrate --model_name_or_path "$run" --ref_model_name_or_path "$sft" --dataset_name "$PROMPTS" --single_turn true --judge "$JUDGE" --output_dir "$run/winrate" "${WINRATE_FLAGS[@]}" >/dev/null
    }
  done
done

say "report"
"${EDPO[@]}" report "${runs[@]}" --output "$OUT/report.html"

# One line a run is one point of Fig. 5: KL of the policy to the reference on its own answers, and the win rate.
node - "${runs[@]}" <<'END' | tee "$OUT/summary.tsv"
const { readFileSync } = require('node:fs');
console.log(['run', 'win_rate', 'wilson_low', 'wilson_high', 'kl', 'kl_se', 'mean_length', 'n'].join('\t'));
for (const run of process.argv.slice(2)) {
  const w = JSON.parse(readFileSync(`${run}/winrate/winrate.json`, 'utf8'));
  console.log([run, ...[w.win_rate, w.wilson_low, w.wilson_high, w.kl, w.kl_se, w.mean_length].map((x) => x.toFixed(4)), w.n].join('\t'));
}
END
