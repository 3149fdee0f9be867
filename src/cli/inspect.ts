import type { RunConfig } from '../config/keys.js';
import { auditLines, auditTokens } from '../model/data/audit.js';
import { documentsOf, openInputs, openSplit } from '../model/session.js';
import type { Tokenizer } from '../model/text/tokenizer.js';
import type { CliIo } from './io.js';

const SHOWN = 3;

/**
 * What each token adds to a text: decoders of the SentencePiece kind drop the space at a text's beginning, so a token is read after another one.
 * Bytes that are no character alone show as U+FFFD.
 */
function piecesOf(tokenizer: Pick<Tokenizer, 'decode'>, ids: Uint32Array): Array<[number, string]> {
  const first = ids.find((id) => tokenizer.decode([id]) !== '');
  if (first === undefined) return Array.from(ids, (id) => [id, tokenizer.decode([id])]);
  const before = tokenizer.decode([first]);
  return Array.from(ids, (id) => {
    const both = tokenizer.decode([first, id]);
    return [id, both.startsWith(before) ? both.slice(before.length) : tokenizer.decode([id])];
  });
}

/** `edpo inspect`: the first rows as the trainer sees them, token by token, then all rows: lengths, what stands out, what became of them. */
export async function run(config: RunConfig, io: CliIo): Promise<number> {
  const inputs = await openInputs(config, io);
  const store = await openSplit(config, inputs, 'train', 'labelled', io, false, true);
  const { tokenizer } = inputs;
  for (let i = 0; i < Math.min(store.count, config.max_train_samples || SHOWN); i++) {
    const d = store.get(i);
    const show = (ids: Uint32Array): Array<[number, string]> => piecesOf(tokenizer, ids);
    const desirable = store.labels?.[i];
    const sideName = (k: number): string => (store.lists ? `${k + 1}: score ${store.scores[i]![k]!}` : desirable === undefined ? ['chosen', 'rejected'][k]! : desirable ? 'desirable' : 'undesirable');
    const sides = Object.fromEntries([['prompt', show(d.prompt)], ...d.responses.map((r, k) => [sideName(k), show(r)])]) as Record<string, Array<[number, string]>>;
    if (!io.json) {
      io.out(`row ${d.id}`);
      // One token between two bars; control characters as JSON writes them.
      for (const [side, tokens] of Object.entries(sides)) io.out(`  ${side.padEnd(store.lists ? 13 : desirable === undefined ? 9 : 12)}${String(tokens.length).padStart(6)} tokens  |${tokens.map(([, text]) => JSON.stringify(text).slice(1, -1)).join('|')}|${side === 'prompt' ? '' : '  scored'}`);
      continue;
    }
    io.out(JSON.stringify({ id: d.id, ...sides, scored: store.lists ? 'every response' : desirable === undefined ? 'chosen and rejected' : 'completion' }));
  }
  const source = documentsOf(store);
  const audit = auditTokens(store, tokenizer, (i) => source.rows(i));
  if (io.json) io.out(JSON.stringify({ audit: { ...audit, report: store.report } }));
  else for (const line of auditLines(audit)) io.out(line);
  store.close();
  return 0;
}
