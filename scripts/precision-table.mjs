// The tables of docs/epsilon-dpo-precision.md from the runs of configs/compare/precision.yaml:
//   edpo compare --config configs/compare/precision.yaml ...; node scripts/precision-table.mjs runs/compare-precision
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const folder = process.argv[2] ?? 'runs/compare-precision';
const lines = (path) => readFileSync(path, 'utf8').trim().split('\n').map((l) => JSON.parse(l));
const percent = (n, of) => (of === 0 ? '–' : `${(100 * n / of).toFixed(1)} %`);
const row = (cells) => console.log(`| ${cells.join(' | ')} |`);
const runs = readdirSync(folder).filter((f) => /-s\d+$/.test(f)).sort();
const quarters = [0.25, 0.5, 0.75, 1];

row(['run', 'pairs', 'lowered β', 'left it', 'raised β', 'steps that the exact rule would not take', 'β after ¼, ½, ¾ and all of the run']);
row(Array(7).fill('---'));
for (const run of runs) {
  // In the first step policy and reference are equal: no pair moves under any criterion.
  const pairs = lines(join(folder, run, 'pairs.ndjson')).filter((p) => p.step > 1);
  const count = (s) => pairs.filter((p) => p.epsilon_step === s).length;
  // The ledger's Δ± are the exact ones under every criterion.
  const exact = (p) => (p.delta_plus > 0 && p.delta_minus < 0 ? 1 : p.delta_plus < 0 && p.delta_minus > 0 ? -1 : 0);
  const odd = pairs.filter((p) => p.epsilon_step !== 0 && p.epsilon_step !== exact(p)).length;
  const log = lines(join(folder, run, 'trainer_log.jsonl')).filter((l) => 'kl/beta' in l);
  const last = log.at(-1).step;
  const path = quarters.map((q) => (q === 1 ? JSON.parse(readFileSync(join(folder, run, 'run.json'), 'utf8')).beta : log.find((l) => l.step > q * last)['kl/beta']));
  row([run.replace(/-s\d+$/, ''), pairs.length, percent(count(1), pairs.length), percent(count(0), pairs.length), percent(count(-1), pairs.length), odd, path.map((b) => b.toPrecision(4)).join(', ')]);
}

const sizes = runs.flatMap((run) => lines(join(folder, run, 'pairs.ndjson')).filter((p) => p.step > 1));
const mean = (x) => x.reduce((a, b) => a + b, 0) / x.length;
console.log(`\nMeans over these runs: |log π| of a response ${mean(sizes.flatMap((p) => [-p.policy_logps_chosen, -p.policy_logps_rejected])).toFixed(0)} nats, |h| ${mean(sizes.map((p) => Math.abs(p.margin))).toFixed(2)} nats, |Δ⁺| at ε 0.01 ${mean(runs.filter((r) => r.includes('epsilon0.01')).flatMap((run) => lines(join(folder, run, 'pairs.ndjson')).filter((p) => p.step > 1).map((p) => Math.abs(p.delta_plus)))).toFixed(4)}.`);
