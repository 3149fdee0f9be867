import { z } from 'zod';
import { losses } from '../model/losses/index.js';
import type { LossDefinition } from '../model/losses/types.js';
import { keysOf, PAIRS } from './keys/define.js';
import { modelKeys } from './keys/model.js';
import { dataKeys } from './keys/data.js';
import { methodKeys } from './keys/method.js';
import { referenceKeys } from './keys/reference.js';
import { optimiserKeys } from './keys/optimiser.js';
import { runKeys } from './keys/run.js';
import { generationKeys } from './keys/generation.js';
import { deviceKeys } from './keys/device.js';

export { COMMANDS, META, type Command, type Group, type KeyMeta } from './keys/define.js';

/** token_budget auto. */
export const AUTO_BUDGET = 0;

/** Every key, flat, in TRL's names where TRL has one and with TRL's defaults for those (design 9); in this order in help, reference.yaml and written configurations. */
const written = { ...modelKeys, ...dataKeys, ...methodKeys, ...referenceKeys, ...optimiserKeys, ...runKeys, ...generationKeys, ...deviceKeys } as const;

const key = keysOf('method');
/** Keys of the numbers that losses read and `known` has no entry for: adding a loss is adding its file. */
export const lossKeys = (list: LossDefinition[], known: object): Record<string, z.ZodType> =>
  Object.fromEntries(list.flatMap((l) => Object.entries(l.params).filter(([name]) => !(name in known)).map(([name, p]) => [name, key(name, PAIRS, z.number().default(p.default), `${l.name}: ${p.about}`)])));

export const shape = { ...written, ...lossKeys(Object.values(losses), written) } as typeof written;

export const schema = z.strictObject(shape);
/** A validated configuration; frozen. */
export type RunConfig = Readonly<z.output<typeof schema>>;
export type KeyName = keyof typeof shape;
export const KEYS = Object.keys(shape) as KeyName[];
