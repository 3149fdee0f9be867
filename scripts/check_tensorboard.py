"""Reads a run's TensorBoard event files with tensorboard's own reader and compares them with trainer_log.jsonl.

    pip install tensorboard
    python scripts/check_tensorboard.py runs/hh [runs/other ...]

Every value of every line must be there once, under its tag, at its step, equal as a 32-bit float; a resumed run has no step twice.
Exits 0 if so, 1 with the first differences if not. Tried with Python 3.11, tensorboard 2.21.0, protobuf 7.36.2.
"""
import json
import math
import struct
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def as_f32(x: float) -> float:
    return struct.unpack("<f", struct.pack("<f", x))[0]


def tag_of(name: str, line: dict) -> str:
    if name.startswith("eval_"):
        return f"eval/{name[5:]}"
    return f"{'eval' if any(k.startswith('eval_') for k in line) else 'train'}/{name}"


def check(run: Path) -> list[str]:
    lines = [json.loads(line) for line in (run / "trainer_log.jsonl").read_text().splitlines() if line]
    want: dict[str, list[tuple[int, float]]] = {}
    for line in lines:
        for name, value in line.items():
            if name != "step" and value is not None and math.isfinite(value):
                want.setdefault(tag_of(name, line), []).append((line["step"], as_f32(value)))
    reader = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0})
    reader.Reload()
    got = {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}
    problems = [f"{tag}: in the log, not in the events" for tag in sorted(want.keys() - got.keys())]
    problems += [f"{tag}: in the events, not in the log" for tag in sorted(got.keys() - want.keys())]
    for tag in sorted(want.keys() & got.keys()):
        if want[tag] != got[tag]:
            first = next((i for i, (a, b) in enumerate(zip(want[tag], got[tag])) if a != b), min(len(want[tag]), len(got[tag])))
            problems.append(f"{tag}: {len(want[tag])} values in the log, {len(got[tag])} in the events; number {first}: log {want[tag][first:first + 1]}, events {got[tag][first:first + 1]}")
    files = len(list((run / "tensorboard").glob("events.out.tfevents.*")))
    print(f"{run}: {len(lines)} log lines, {len(want)} tags, {sum(map(len, want.values()))} values, {files} event file(s), {len(problems)} problem(s)")
    return problems


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    found = [f"{run}: {p}" for run in sys.argv[1:] for p in check(Path(run))]
    print("\n".join(found[:20]))
    sys.exit(1 if found else 0)
