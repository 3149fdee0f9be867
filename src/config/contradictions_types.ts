import type { Command, RunConfig } from './keys.js';

/** What a configuration is checked for: a command's needs, or (`config`) only that it makes sense. */
export type Purpose = Command | 'config';

/** Where each given key was given ("line 12", "--beta"). */
export type Places = ReadonlyMap<string, { where: string }>;

/** Reports a contradiction of these keys, at the first of them that was given. */
export type Report = (keys: Array<keyof RunConfig>, what: string) => void;
