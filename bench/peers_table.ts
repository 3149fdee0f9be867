import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { EdpoError } from '../src/errors.js';
import { figure, table } from './table.js';

/** What the table needs of a line of either program. */
interface PeerLine {
  system: string;
  model: string;
  lengths: string;
  method: string;
  dtype?: string;
  shape?: string;
  batch?: number;
  best?: boolean;
  pairs: number;
  tokens_sha256: string;
  rehearsal: boolean;
  device: string;
  /** The adapter's name for the card, where `device` names the driver. */
  card?: string;
  pairs_per_second: number;
  useful_tokens_per_second: number;
  peak_bytes: number;
  peak_of: string;
  time_to_first_step_s: number;
}

const readLines = (path: string): PeerLine[] => (existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean).map((line) => JSON.parse(line) as PeerLine) : []);

/** Both programs name the card in their own way: have the names a word with letters and digits in common ("H200", "4090")? */
const sameCard = (a: string, b: string): boolean => {
  const words = (name: string): string[] => name.toLowerCase().split(/[^a-z0-9]+/).filter((w) => /\d{2}/.test(w));
  return words(a).some((w) => words(b).includes(w));
};

/**
 * The table of a folder with edpo.ndjson and torch.ndjson: each system by model and lengths, and edpo's pairs/s over TRL's (for ε-DPO over the PyTorch step's).
 * Throws where the two were not measured on the same ids or pairs a step, and says so where they name different cards.
 */
export function joinPeers(folder: string): string {
  const [edpo, torch] = [readLines(join(folder, 'edpo.ndjson')), readLines(join(folder, 'torch.ndjson')).filter((l) => l.best)];
  if (edpo.length === 0 && torch.length === 0) throw new EdpoError(`neither edpo.ndjson nor torch.ndjson in ${folder}`, { hint: 'sh bench/peers/run.sh FOLDER makes them', exitCode: 2 });
  const all = [...torch, ...edpo];
  const rehearsal = all.some((l) => l.rehearsal);
  const groups = new Map<string, PeerLine[]>();
  for (const l of all) groups.set(`${l.model}, ${l.lengths}`, [...(groups.get(`${l.model}, ${l.lengths}`) ?? []), l]);
  let text = rehearsal ? 'REHEARSAL on a processor: no figure here is a GPU’s.\n' : '';
  for (const [name, lines] of groups) {
    const [one] = lines as [PeerLine, ...PeerLine[]];
    for (const l of lines) {
      if (l.tokens_sha256 !== one.tokens_sha256 || l.pairs !== one.pairs) throw new EdpoError(`${name}: ${l.system} ran ${l.pairs} pairs a step of tokens ${l.tokens_sha256.slice(0, 8)}, ${one.system} ${one.pairs} of ${one.tokens_sha256.slice(0, 8)}`, { hint: 'run both anew into an empty folder' });
    }
    const other = lines.find((l) => l.system === 'edpo');
    const peer = lines.find((l) => l.system !== 'edpo');
    if (!rehearsal && other && peer && !sameCard(`${other.device} ${other.card}`, peer.device)) text += `\nNOT ONE CARD? edpo names "${other.card || other.device}", PyTorch "${peer.device}".\n`;
    text += `\n${name}, ${one.pairs} pairs a step, on ${[...new Set(lines.map((l) => l.device))].join(' / ')}\n${rowsOf(lines)}`;
  }
  return text;
}

function rowsOf(lines: PeerLine[]): string {
  const of = (system: string): number | undefined => lines.find((l) => l.system === system)?.pairs_per_second;
  const ratio = (l: PeerLine, system: string): string => {
    const theirs = of(system);
    return l.system !== 'edpo' || theirs === undefined ? '' : figure(l.pairs_per_second / theirs);
  };
  return table([
    { head: 'system', cell: (l: PeerLine) => (l.system === 'edpo' ? `edpo ${l.dtype} ${l.shape === 'shared' ? 'prompt once' : 'prompt twice'}` : `${l.system}, batch ${l.batch}`) },
    { head: 'method', cell: (l) => l.method },
    { head: 'pairs/s', cell: (l) => l.pairs_per_second },
    { head: 'useful tokens/s', cell: (l) => l.useful_tokens_per_second },
    { head: 'peak GB', cell: (l) => l.peak_bytes / 1e9 },
    { head: 'first step s', cell: (l) => l.time_to_first_step_s },
    { head: '/ TRL default', cell: (l) => ratio(l, 'trl_default') },
    { head: '/ TRL tuned', cell: (l) => ratio(l, 'trl_tuned') },
    { head: '/ PyTorch ε', cell: (l) => (l.method === 'epsilon_dpo' ? ratio(l, 'torch_epsilon') : '') },
  ], lines);
}
