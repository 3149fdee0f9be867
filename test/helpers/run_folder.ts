import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { PairRecord } from '../../src/model/train/ledger.js';
import { ledgerLine } from '../../src/model/train/lines.js';
import { rng } from './rng.js';

/** A ledger record with the fields that say something; the others as an ε-DPO run would have them. */
export function pairRecord(over: Partial<PairRecord>): PairRecord {
  return {
    id: 0, step: 1, policy_logps_chosen: -10, policy_logps_rejected: -12, ref_logps_chosen: -11, ref_logps_rejected: -11, tokens_prompt: 5, tokens_chosen: 7, tokens_rejected: 8, margin: 2, logratio: 2,
    delta_plus: 0.1, delta_minus: -0.1, epsilon_step: 1, beta: 0.1, loss: 0.6, loss_dpo: 0.6, reward_chosen: 0.1, reward_rejected: -0.1, kl_policy_ref_chosen: 0.5, kl_policy_ref_rejected: 0.4,
    kl_ref_policy_chosen: 0.5, kl_ref_policy_rejected: 0.4, entropy_chosen: 9, entropy_rejected: 9, ...over,
  };
}

/** A run's folder as `edpo train` leaves it, without the model: `steps` steps of `batch` pairs in one pass, seeded. */
export function runFolder(dir: string, o: { steps?: number; batch?: number; version?: string; seed?: number; config?: Record<string, unknown> } = {}): string {
  const { steps = 6, batch = 4, version = '0.1.0', seed = 1, config = { loss_type: 'epsilon_dpo', beta: 0.1, learning_rate: 1e-3 } } = o;
  mkdirSync(dir, { recursive: true });
  const r = rng(seed);
  const log: string[] = [];
  const ledger: string[] = [];
  for (let step = 1; step <= steps; step++) {
    for (let i = 0; i < batch; i++) {
      const reward = 4 * r.uniform() - 1;
      ledger.push(ledgerLine(pairRecord({ id: (step - 1) * batch + i, step, reward_chosen: reward, reward_rejected: 0, epsilon_step: r.int(3) - 1, tokens_chosen: 1 + r.int(300) })));
    }
    log.push(JSON.stringify({ step, epoch: step / steps, loss: 0.7 - step / 1000, 'rewards/accuracies': 0.5, 'rewards/accuracies_se': 0.1, 'kl/beta': 0.1, num_tokens: 100 * step, tokens_per_second: 50, gpu_bytes: 1e7, rss_bytes: 2e8 }));
  }
  writeFileSync(join(dir, 'pairs.ndjson'), ledger.join(''));
  writeFileSync(join(dir, 'trainer_log.jsonl'), `${log.join('\n')}\n`);
  writeFileSync(join(dir, 'run.json'), JSON.stringify({ versions: { edpo: version, webgpu: '0.6.2', node: 'v20' }, adapter: { adapter: 'test' }, beta: 0.09, best: null, config }));
  return dir;
}
