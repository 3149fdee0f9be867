"""Writes a finished run's log as a Weights & Biases run.

    pip install wandb
    WANDB_MODE=offline python scripts/import_wandb.py runs/hh --project hh     # writes wandb/offline-run-*, no network
    wandb sync wandb/offline-run-*                                             # uploads it, when you want

Tried with Python 3.11 and wandb 0.31.0 up to the offline run; the upload needs an account and was not.
"""
import argparse
import json
from pathlib import Path

import wandb

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("run", type=Path, help="output_dir of edpo train")
parser.add_argument("--project", default="edpo")
parser.add_argument("--name", help="the folder's name where absent")
args = parser.parse_args()

manifest = args.run / "run.json"
config = json.loads(manifest.read_text())["config"] if manifest.exists() else None
# One W&B step holds one dictionary: a training line and an evaluation of the same step go together.
steps: dict[int, dict[str, float]] = {}
for line in (args.run / "trainer_log.jsonl").read_text().splitlines():
    values = json.loads(line)
    step = values.pop("step")
    steps.setdefault(step, {}).update({f"eval/{k[5:]}" if k.startswith("eval_") else f"train/{k}": v for k, v in values.items()})
with wandb.init(project=args.project, name=args.name or args.run.name, config=config) as run:
    for step, values in steps.items():
        run.log(values, step=step)
print(f"{args.run}: {len(steps)} steps")
