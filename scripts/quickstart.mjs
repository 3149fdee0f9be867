// The quick start, through the public commands alone: reference cache, ε-DPO training, samples and win rates before and after.
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
process.chdir(root);
const config = 'configs/quickstart.yaml';
const run = 'runs/quickstart';
const model = 'examples/quickstart/model';
const started = Date.now();

function edpo(title, ...args) {
  console.log(`\n== ${title}\n$ npx edpo ${args.join(' ')}`);
  const result = spawnSync(process.execPath, ['bin/edpo.js', ...args], { stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8' });
  if (result.status !== 0) process.exit(result.status ?? 1);
  return result.stdout;
}
function winRate(title, policy, out) {
  edpo(title, 'eval-winrate', '--model_name_or_path', policy, '--dataset_name', 'examples/quickstart/data', '--baseline', model, '--judge', 'command:node examples/quickstart/judge.mjs', '--max_new_tokens', '4', '--batch_size', '100', '--output_dir', out);
  return JSON.parse(readFileSync(`${out}/winrate.json`, 'utf8'));
}

for (const folder of [run, 'runs/quickstart-before', 'runs/quickstart-after']) rmSync(folder, { recursive: true, force: true });
edpo('reference log-probabilities and hidden states, once', 'precompute-ref', '--config', config, '--ref_cache', `${run}/ref_cache`);
edpo('ε-DPO from the cache', 'train', '--config', config, '--ref_cache', `${run}/ref_cache`);
const before = winRate('win rate of the model as it was, against itself', model, 'runs/quickstart-before');
const after = winRate('win rate of the trained model against it', run, 'runs/quickstart-after');
edpo('the report, win rates included', 'report', run);

const samples = (folder) => JSON.parse(readFileSync(`${folder}/model_outputs.json`, 'utf8'));
console.log('\n== held-out prompts, before and after');
const [a, b] = [samples('runs/quickstart-before'), samples('runs/quickstart-after')];
for (let i = 0; i < 5; i++) console.log(`${a[i].instruction}   before: ${a[i].output}   after: ${b[i].output}`);
const show = (name, w) => console.log(`${name.padEnd(8)} ${(100 * w.win_rate).toFixed(1)} %  (95 % interval ${(100 * w.wilson_low).toFixed(1)} to ${(100 * w.wilson_high).toFixed(1)}; ${w.wins} wins, ${w.ties} ties, ${w.losses} losses of ${w.n})`);
console.log('\n== win rate on held-out prompts against the model as it was');
show('before', before);
show('after', after);
const apart = after.wilson_low > before.wilson_high;
console.log(`${apart ? 'The intervals do not overlap: ε-DPO changed the model.' : 'The intervals overlap: something is wrong, please report it.'} (${Math.round((Date.now() - started) / 1000)} s)`);
console.log(`The report: ${run}/report.html`);
process.exit(apart ? 0 : 1);
