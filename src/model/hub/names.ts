import { existsSync } from 'node:fs';
import { InputError } from '../../errors.js';

export type RepoKind = 'model' | 'dataset';

/** A repository of the hub at a branch, tag or commit. */
export interface Repo {
  kind: RepoKind;
  /** `org/name`. */
  id: string;
  revision: string;
}

/** `org/name` or `org/name@revision`: letters, digits, `-`, `_`, `.`; no part that begins with a dot. */
const HUB_ID = /^([A-Za-z0-9_-][\w.-]*\/[A-Za-z0-9_-][\w.-]*?)(?:@([\w][\w./-]*))?$/;
const DATA_FILE = /\.(jsonl|ndjson|json|parquet)(\.gz)?$/;

/** Does a name that is no path here have the form of a hub id? A name that ends like a data file never does. */
export const isHubId = (name: string): boolean => !existsSync(name) && HUB_ID.test(name) && !DATA_FILE.test(name);

/**
 * The repository a configuration names.
 * @param revision the revision key's value, if given
 * @returns undefined where the name is a path here, or no hub id
 * @throws InputError where name and key give different revisions, or a revision could leave its folder
 */
export function repoOf(kind: RepoKind, name: string, revision?: string): Repo | undefined {
  if (!isHubId(name)) return undefined;
  const [, id, own] = HUB_ID.exec(name)!;
  const key = `${kind}_revision`;
  if (own !== undefined && revision !== undefined && own !== revision) throw new InputError(`${name} names the revision ${own}, ${key} is ${revision}`, 'give one of the two');
  const wanted = own ?? revision ?? 'main';
  if (wanted.split('/').some((part) => part === '' || part.startsWith('.'))) throw new InputError(`${key}: expected a branch, tag or commit, got ${JSON.stringify(wanted)}`, `--${key} main`);
  return { kind, id: id!, revision: wanted };
}

export const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision);

/** `org/name` of `org/name@revision`, as a model card names it; a path stays as it is. */
export const withoutRevision = (name: string): string => (isHubId(name) ? name.replace(/@.*$/, '') : name);
