import { InputError } from '../../errors.js';
import type { LengthWeights } from './length_control.js';
import type { GamedRows } from './length_control_full.js';
import { readCsv } from './numeric_csv.js';

const COLUMNS = { length: 'np.tanh(std_delta_len)', difficulty: 'instruction_difficulty', model: 'not_gamed_baseline.astype(float)' } as const;

/** AlpacaEval's instruction_difficulty.csv: the difficulty of instruction `index`, which must count from 0 without a gap. */
export async function readDifficulties(path: string): Promise<Float64Array> {
  const table = await readCsv(path);
  const difficulties = table.numbers('instruction_difficulty');
  const index = table.numbers('index');
  index.forEach((value, i) => {
    if (value !== i)
      throw new InputError(`${path}: row ${i} has index ${value}; expected ${i}`, 'indices count the instructions from 0, without a gap');
    if (Number.isNaN(difficulties[i]!)) throw new InputError(`${path}: instruction ${i} has no difficulty`);
  });
  return difficulties;
}

/** Weights by model name from AlpacaEval's weights/…/baseline_*.csv. */
export async function readWeights(path: string): Promise<Map<string, LengthWeights>> {
  const table = await readCsv(path);
  const [length, difficulty, model] = [COLUMNS.length, COLUMNS.difficulty, COLUMNS.model].map((c) => table.numbers(c)) as [
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  return new Map(table.rows.map((cells, i) => [cells[0]!, { length: length[i]!, difficulty: difficulty[i]!, model: model[i]! }]));
}

/** Weights of one model; an unknown name is an InputError that tells near ones. */
export function weightsOf(weights: Map<string, LengthWeights>, name: string, path: string): LengthWeights {
  const found = weights.get(name);
  if (found) return found;
  const near = [...weights.keys()]
    .filter((k) => k.toLowerCase().includes(name.toLowerCase()) || name.toLowerCase().includes(k.toLowerCase()))
    .slice(0, 5);
  throw new InputError(
    `${path} has no weights for ${JSON.stringify(name)}; it has ${weights.size} models`,
    near.length > 0 ? `did you mean ${near.join(' or ')}?` : undefined,
  );
}

/** The regularising rows of AlpacaEval's df_gamed.csv and, from the first row of each index, the difficulties. */
export async function readGamed(path: string): Promise<{ gamed: GamedRows; difficulties: Float64Array }> {
  const table = await readCsv(path);
  const preference = table.numbers('preference');
  const difficulty = table.numbers('instruction_difficulty');
  const index = table.numbers('index');
  const bad = preference.findIndex((p) => p < 0 || p > 1);
  if (bad >= 0) throw new InputError(`${path}: row ${bad} has preference ${preference[bad]}; expected a share of a win in [0, 1]`);
  const own = table.columns.indexOf('not_gamed_baseline');
  const wrong = own < 0 ? -1 : table.rows.findIndex((cells) => !/^(false|0(\.0*)?)$/i.test(cells[own]!.trim()));
  if (wrong >= 0) throw new InputError(`${path}: row ${wrong} is no row of a gamed baseline (not_gamed_baseline is ${table.rows[wrong]![own]})`);
  const difficulties = new Map<number, number>();
  index.forEach((at, i) => difficulties.has(at) || difficulties.set(at, difficulty[i]!));
  const ordered = Float64Array.from({ length: difficulties.size }, (_, i) => difficulties.get(i) ?? NaN);
  const gap = ordered.findIndex(Number.isNaN);
  if (gap >= 0) throw new InputError(`${path}: no difficulty for instruction ${gap}`, 'indices count the instructions from 0, without a gap');
  return { gamed: { preference, stdDeltaLength: table.numbers('std_delta_len'), difficulty }, difficulties: ordered };
}
