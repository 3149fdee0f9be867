import type { RunConfig } from '../config/keys.js';
import { openInputs, openSplit } from '../model/session.js';
import type { CliIo } from './io.js';

const SHOWN = 3;

/** `edpo inspect`: the first rows as the trainer sees them, token by token, and what became of all rows. */
export async function run(config: RunConfig, io: CliIo): Promise<number> {
  const inputs = await openInputs(config, io);
  const store = await openSplit(config, inputs, 'train', 2, io);
  const { tokenizer } = inputs;
  for (let i = 0; i < Math.min(store.count, config.max_train_samples || SHOWN); i++) {
    const d = store.get(i);
    const show = (ids: Uint32Array): Array<[number, string]> => Array.from(ids, (id) => [id, tokenizer.decode([id])]);
    const starts = Array.from(d.prompt).filter((id) => id === tokenizer.bosId).length;
    if (starts > 1) io.warn(`row ${d.id}: BOS stands ${starts} times in the prompt`);
    const sides = { prompt: show(d.prompt), chosen: show(d.responses[0]!), rejected: show(d.responses[1]!) };
    if (!io.json) {
      io.out(`row ${d.id}`);
      // One token between two bars; control characters as JSON writes them.
      for (const [side, tokens] of Object.entries(sides)) io.out(`  ${side.padEnd(9)}${String(tokens.length).padStart(6)} tokens  |${tokens.map(([, text]) => JSON.stringify(text).slice(1, -1)).join('|')}|${side === 'prompt' ? '' : '  scored'}`);
      continue;
    }
    io.out(JSON.stringify({ id: d.id, ...sides, scored: 'chosen and rejected' }));
  }
  store.close();
  return 0;
}
