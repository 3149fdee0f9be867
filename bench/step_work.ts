import { InputError } from '../src/errors.js';
import { HEAD_TILES } from '../src/gpu/ops/kept_tiles.js';
import type { Document } from '../src/model/batch/pack.js';
import { LOSS_NAMES, losses } from '../src/model/losses/index.js';
import type { LossDefinition } from '../src/model/losses/types.js';
import { documentsOfPair, drawPairs, peerSpec } from './peers_tokens.js';
import { inventedPairs, inventedSpec } from './step_setup.js';
import { DTYPES, type Dtype, type TrainingWork } from './training_case.js';

/* The options of benchmarks that train: a real shape with drawn lengths, or an invented one. */

export const WORK_HELP = `[--model NAME --lengths hh|ultrafeedback --scale 1 --pairs 32 --budget 16384]        a shape of bench/peers/models.json
    or [--hidden 64 --layers 5 --vocab 512 --pairs 8 --length 400 --budget 16384]                             an invented one
  [--dtype float32|mixed_f16 --reference cached|live --loss_type epsilon_dpo --head_tiles recomputed --lora_r 0 --warm 2 --runs 5 --adapter auto --out FILE]`;

const text = (value: string) => ({ type: 'string' as const, default: value });
export const WORK_OPTIONS = {
  model: { type: 'string' }, lengths: text('hh'), scale: text('1'), hidden: text('64'), layers: text('5'), vocab: text('512'), length: text('400'), pairs: { type: 'string' }, budget: text('16384'),
  dtype: text('float32'), reference: text('cached'), loss_type: text('epsilon_dpo'), head_tiles: text('recomputed'), lora_r: text('0'), warm: text('2'), runs: text('5'), adapter: text('auto'), out: { type: 'string' }, help: { type: 'boolean', default: false },
} as const;

type Given = Record<'lengths' | 'scale' | 'hidden' | 'layers' | 'vocab' | 'length' | 'budget' | 'dtype' | 'reference' | 'loss_type' | 'head_tiles' | 'lora_r' | 'warm' | 'runs', string> & { model?: string | undefined; pairs?: string | undefined };
/** What these options of benchmark `bench` ask for: all but the device of a `TrainingWork`, whose first `warm` steps do not count and the `runs` others do, and the pairs of a step. */
export type Work = Omit<TrainingWork, 'gpu' | 'headTiles' | 'loraRank'> & Required<Pick<TrainingWork, 'headTiles' | 'loraRank'>> & { warm: number; runs: number; perStep: number };

export function workOf(bench: string, o: Given): Work {
  const whole = (name: 'hidden' | 'layers' | 'vocab' | 'length' | 'budget' | 'lora_r' | 'warm' | 'runs', least = 1): number => {
    const n = Number(o[name]);
    if (o[name].trim() === '' || !Number.isInteger(n) || n < least) throw new InputError(`--${name} ${o[name]}: expected a whole number from ${least}`, `npm run bench -- ${bench} --help`);
    return n;
  };
  const oneOf = <T extends string>(name: string, value: string, of: readonly T[]): T => {
    if (!of.includes(value as T)) throw new InputError(`--${name} ${value}: expected ${of.join(', ')}`, `npm run bench -- ${bench} --help`);
    return value as T;
  };
  const dtype: Dtype = oneOf('dtype', o.dtype, DTYPES);
  const reference = oneOf('reference', o.reference, ['cached', 'live']);
  const headTiles = oneOf('head_tiles', o.head_tiles, HEAD_TILES);
  const loss: LossDefinition = losses[oneOf('loss_type', o.loss_type, LOSS_NAMES.filter((n) => losses[n].needs.branches === 2))];
  const params = Object.fromEntries(Object.entries(loss.params).map(([key, { default: value }]) => [key, value]));
  const [warm, runs, budget] = [whole('warm'), whole('runs'), whole('budget')];
  const perStep = Number(o.pairs ?? (o.model ? 32 : 8));
  const spec = o.model ? peerSpec(o.model) : inventedSpec({ hidden: whole('hidden'), layers: whole('layers'), vocab: whole('vocab') });
  const drawn = o.model ? drawPairs(o.lengths, spec.V, Number(o.scale)) : undefined;
  const invented = drawn ? [] : inventedPairs(perStep, whole('length'), spec.V);
  const steps = Array.from({ length: warm + runs }, (_, step): Document[] => drawn ? Array.from({ length: perStep }, (_, i) => step * perStep + i).flatMap((at) => documentsOfPair(drawn[at % drawn.length]!, at, true)) : invented);
  return { spec, loss, params, reference, dtype, headTiles, loraRank: whole('lora_r', 0), steps, budget, warm, runs, perStep };
}
