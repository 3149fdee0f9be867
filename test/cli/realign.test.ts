import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { edpo, tinyFolder, tinyPairs } from '../helpers/cli.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-realign-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
const policy = await tinyFolder(join(dir, 'policy'));
const reference = await tinyFolder(join(dir, 'reference'), 2);
const data = tinyPairs(join(dir, 'data.jsonl'), 12);
const both = ['--model_name_or_path', policy, '--ref_model_name_or_path', reference];
const ok = (args: string[]): string => {
  const r = edpo(args);
  t.equal(r.code, 0, r.err);
  return r.out;
};

t.test('generate: λ = 1 is the policy, λ = 0 the reference, between and beyond are others', async (t) => {
  const prompts = join(dir, 'prompts.jsonl');
  writeFileSync(prompts, ['abc de', 'zz', 'once upon'].map((prompt) => JSON.stringify({ prompt })).join('\n'));
  const sampling = ['--prompts_file', prompts, '--max_new_tokens', '12', '--seed', '7'];
  const plain = (model: string): string => ok(['generate', '--model_name_or_path', model, ...sampling]);
  const at = (λ: number): string => ok(['generate', ...both, ...sampling, '--realign', String(λ)]);
  t.equal(at(1), plain(policy));
  t.equal(at(0), plain(reference));
  t.not(at(0.5), plain(policy));
  t.not(at(3), plain(policy));
  t.match(edpo(['generate', '--model_name_or_path', policy, ...sampling, '--realign', '0.5']).err, /realign +mixes the policy with a reference: give ref_model_name_or_path/);
});

t.test('eval: the KL grows with λ, 0 at the reference; a win rate’s KL is of the realigned policy’s own answers', async (t) => {
  const kl = (λ?: number): { kl: number; margin: number } => {
    const r = JSON.parse(ok(['eval', ...both, '--dataset_name', data, '--loss_type', 'epsilon_dpo', '--output_dir', join(dir, `eval-${λ}`), ...(λ === undefined ? [] : ['--realign', String(λ)])])) as Record<string, number>;
    return { kl: r['kl/policy_ref_chosen']! + r['kl/policy_ref_rejected']!, margin: r['margin']! };
  };
  const [zero, half, one, plain] = [kl(0), kl(0.5), kl(1), kl()];
  t.equal(zero.kl, 0);
  t.equal(zero.margin, 0);
  t.ok(half.kl > 0 && half.kl < one.kl, `${half.kl} of ${one.kl}`);
  t.same(one, plain);
  const judge = join(dir, 'judge.mjs');
  writeFileSync(judge, 'import { createInterface } from "node:readline"; for await (const l of createInterface({ input: process.stdin })) console.log(JSON.stringify({ id: JSON.parse(l).id, winner: "tie" }));');
  const win = (λ: number): Record<string, number> => JSON.parse(ok(['eval-winrate', ...both, '--dataset_name', data, '--judge', `command:node ${judge}`, '--max_new_tokens', '8', '--output_dir', join(dir, `win-${λ}`), '--realign', String(λ)])) as Record<string, number>;
  t.equal(win(0)['kl'], 0);
  const some = win(0.5);
  t.ok(some['kl']! > 0 && Math.abs(some['kl']! - some['kl_monte_carlo']!) < 5 * Math.hypot(some['kl_se']!, some['kl_monte_carlo_se']!), 'both estimates are of the policy that sampled');
  t.match(JSON.parse(readFileSync(join(dir, 'win-0.5', 'winrate.json'), 'utf8')), { sampling: { realign: 0.5 } });
});
