import { z } from 'zod';

/** Commands that read configuration. */
export const COMMANDS = ['train', 'sft', 'precompute-ref', 'eval', 'eval-winrate', 'generate', 'plan', 'inspect', 'merge'] as const;
export type Command = (typeof COMMANDS)[number];

/** Where a key is listed in help and in reference.yaml; each has its file here. */
export type Group = 'model' | 'data' | 'method' | 'reference' | 'optimiser' | 'run' | 'generation' | 'device';

export interface KeyMeta {
  about: string;
  group: Group;
  commands: Command[];
}

/** What help says of each key, by its name. */
export const META: Record<string, KeyMeta> = {};

/** Defines keys of a group: each is its type, and is entered in META. */
export const keysOf = (group: Group) => <T extends z.ZodType>(name: string, commands: Command[], type: T, about: string): T => {
  META[name] = { about, group, commands };
  return type;
};

export const TRAINING: Command[] = ['train', 'sft', 'plan'];
/** Commands that run a model, or count what one would take. */
export const MODEL: Command[] = COMMANDS.filter((c) => c !== 'merge');
export const PAIRS: Command[] = ['train', 'precompute-ref', 'eval', 'plan'];
export const DATA: Command[] = ['train', 'sft', 'precompute-ref', 'eval', 'eval-winrate', 'plan', 'inspect'];

export const text = z.string().min(1);
export const list = z.union([text, z.array(text)]).transform((v) => (Array.isArray(v) ? v : v.split(',')));
export const count = z.int().min(0);
