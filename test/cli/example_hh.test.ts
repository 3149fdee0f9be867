import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import t from 'tap';
import { realTest, sharedData } from '../helpers/shared.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-example-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));

realTest('examples/hh/run.sh: SFT, cache, two methods, win rates with KL, one report; killed twice, it goes on and ends the same', async (t) => {
  const judge = join(dir, 'judge.mjs');
  writeFileSync(judge, 'import { createInterface } from "node:readline"; for await (const line of createInterface({ input: process.stdin })) { const { id, a, b } = JSON.parse(line); console.log(JSON.stringify({ id, winner: a.length > b.length ? "a" : b.length > a.length ? "b" : "tie" })); }');
  const common = ['model_name_or_path: ' + sharedData('models', 'stories260K', 'hf'), 'dataset_name: ' + sharedData('hh-rlhf', 'helpful-base', 'test.jsonl.gz'), 'dataset_format: hh', 'max_length: 200', 'max_prompt_length: 96', 'max_train_samples: 12', 'total_batch_size: 4', 'num_train_epochs: 1', 'save_steps: 1', 'logging_steps: 1', 'learning_rate: 1.0e-4'].join('\n');
  const config = join(dir, 'config.yaml');
  writeFileSync(config, `${common}\n`);
  const env = (out: string): Record<string, string> => ({
    ...(process.env as Record<string, string>), OUT: out, SFT_CONFIG: config, CONFIG: config, PROMPTS: sharedData('hh-rlhf', 'helpful-base', 'test.jsonl.gz'), JUDGE: `command:node ${judge}`,
    BETAS: '0.1', EDPO: `${process.execPath} ${resolve('bin/edpo.js')}`, WINRATE_FLAGS: '--n_prompts 4 --max_new_tokens 12 --max_prompt_length 96',
  });
  const script = resolve('examples/hh/run.sh');
  const out = join(dir, 'killed');
  // Killed where the work is: in the middle of a training, and in the sampling.
  for (const when of [/== train into/, /== win rate of/]) {
    await new Promise<void>((done) => {
      const child = spawn('bash', [script], { env: env(out), detached: true, stdio: ['ignore', 'ignore', 'pipe'] });
      let said = '';
      let killed = false;
      child.stderr.on('data', (d: Buffer) => {
        said += d.toString();
        if (killed || !when.test(said) || !/adapter:/.test(said.slice(said.search(when)))) return;
        killed = true;
        process.kill(-child.pid!, 'SIGKILL');
      });
      child.on('close', () => {
        t.ok(killed, `killed at ${String(when)}: ${said.slice(-300)}`);
        done();
      });
    });
  }
  const run = (to: string): string => {
    const r = spawnSync('bash', [script], { env: env(to), encoding: 'utf8', maxBuffer: 1 << 26 });
    t.equal(r.status, 0, r.stderr.slice(-1500));
    return readFileSync(join(to, 'summary.tsv'), 'utf8').replaceAll(to, 'OUT');
  };
  const table = run(out);
  t.match(table, /^run\twin_rate\twilson_low\twilson_high\tkl\tkl_se\tmean_length\tn\nOUT\/sigmoid-beta0\.1\t[\d.\t]+\t4\nOUT\/epsilon_dpo-beta0\.1\t[\d.\t]+\t4\n$/);
  t.ok(statSync(join(out, 'report.html')).size > 10_000);
  const before = new Map(readdirSync(out, { recursive: true }).map((f) => [String(f), statSync(join(out, String(f))).mtimeMs]));
  t.equal(run(out), table, 'once more: the same table');
  for (const f of ['sft/run.json', 'sigmoid-beta0.1/run.json', 'sigmoid-beta0.1/winrate/winrate.json']) t.equal(statSync(join(out, f)).mtimeMs, before.get(f), `${f} was not made again`);
  t.equal(run(join(dir, 'whole')), table, 'an uninterrupted experiment has the same figures');
  t.notOk(existsSync(join(out, 'sigmoid-beta0.1', 'winrate', 'winrate.json.partial')));
});
