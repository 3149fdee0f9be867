import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { refuseChanged } from '../../src/compare/changed.js';
import { readGrid } from '../../src/compare/grid.js';
import { InputErrors } from '../../src/errors.js';

/** A finished run made with `then` that kept `tiles` of the head's logits; what is said of it when the comparison asks for `now`. */
function said(dir: string, then: Record<string, string>, tiles: string | undefined, now: Record<string, string>, method = 'sigmoid'): string {
  const [base, file] = [join(dir, 'base.yaml'), join(dir, 'compare.yaml')];
  writeFileSync(base, `model_name_or_path: m\ndata_files: d.jsonl\neval_data_files: e.jsonl\nloss_type: sigmoid\noutput_dir: ${join(dir, 'unused')}\n`);
  writeFileSync(file, `base: ${base}\noutput_dir: ${join(dir, 'out')}\nmethods: [${method}]\nseeds: [1]\n`);
  const [run] = readGrid(file, then).runs;
  mkdirSync(run!.folder, { recursive: true });
  writeFileSync(join(run!.folder, 'run.json'), JSON.stringify({ config: run!.config, ...(tiles ? { memory: { head_tiles: tiles } } : {}) }));
  try {
    refuseChanged(readGrid(file, now));
    return '';
  } catch (e) {
    if (!(e instanceof InputErrors)) throw e;
    return e.message;
  }
}

t.test('a comparison goes on over its finished runs unless they are others; gpu_memory is another run where head_tiles: auto may decide otherwise by it', async (t) => {
  const dir = t.testdir({});
  const of = (then: Record<string, string>, tiles: string | undefined, now: Record<string, string>, method?: string): string => said(dir, then, tiles, now, method);
  const mixed = (gb?: number, more: Record<string, string> = {}): Record<string, string> => ({ dtype: 'mixed_f16', ...(gb ? { gpu_memory: `${gb}` } : {}), ...more });
  t.equal(of({}, undefined, {}), '', 'a version that told nothing of tiles');
  t.equal(of({}, 'recomputed', { gpu_memory: '24' }), '', 'in float32 it decides nothing');
  t.equal(of({ token_budget: 'auto' }, 'recomputed', { token_budget: 'auto' }), '');
  t.match(of({ token_budget: 'auto' }, 'recomputed', { token_budget: '512' }), /token_budget 0, now 512/);
  for (const [then, tiles, now] of [[80, 'kept', 80], [80, 'kept', 141], [80, 'recomputed', 24], [80, 'recomputed', undefined]] as const) t.equal(of(mixed(then), tiles, mixed(now)), '', `${then} GB ${tiles}, ${now} GB`);
  t.match(of(mixed(80), 'kept', mixed(24)), /head_tiles "auto" \("kept"\) at gpu_memory 80, now "auto" at 24: head_tiles: kept does as that run did/);
  t.match(of(mixed(80), 'kept', mixed()), /at gpu_memory 80, now "auto" at null/);
  t.match(of(mixed(), 'recomputed', mixed(24)), /head_tiles "auto" \("recomputed"\) at gpu_memory null, now "auto" at 24/);
  t.equal(of(mixed(80), 'kept', mixed(24, { head_tiles: 'kept' })), '', 'what it became may be said');
  t.match(of(mixed(80), 'kept', mixed(80, { head_tiles: 'recomputed' })), /head_tiles "auto" \("kept"\), now "recomputed"/);
  t.match(of({ head_tiles: 'kept' }, 'kept', {}), /head_tiles "kept" .*now "auto"/);
  t.match(of(mixed(80, { head_tiles: 'kept' }), 'kept', mixed(80)), /head_tiles "kept" .*now "auto"/);
  t.equal(of(mixed(80), 'kept', mixed(80, { head_tiles: 'kept_both' })), '', 'sigmoid has no gradient through KL');
  t.match(of(mixed(80), 'kept', mixed(80, { head_tiles: 'kept_both' }), 'tdpo2'), /now "kept_both"/);
  t.match(of(mixed(80), 'kept', mixed(141), 'tdpo2'), /at gpu_memory 80, now "auto" at 141/);
});
