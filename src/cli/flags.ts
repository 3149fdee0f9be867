import { Option, type Command } from 'commander';
import { choicesOf, defaultOf, expectation, takesNumber } from '../config/expect.js';
import { KEYS, META, type Command as ConfigCommand, type Group, type KeyName } from '../config/keys.js';

/** Groups of keys in help, in this order. */
const HEADINGS: Record<Group, string> = {
  model: 'Model:', data: 'Data:', method: 'Method:', reference: 'Reference:', optimiser: 'Optimiser:', generation: 'Sampling and judging:', run: 'Run and output:', device: 'Device:',
};
const GROUPS = Object.keys(HEADINGS) as Group[];

/** Every key as a flag: those the command uses listed by group, the others accepted here and refused by name later. */
export function addKeyFlags(command: Command, purpose: ConfigCommand | 'config'): void {
  const inOrder = [...KEYS].sort((a, b) => GROUPS.indexOf(META[a]!.group) - GROUPS.indexOf(META[b]!.group));
  for (const key of inOrder) {
    // A command may have an option of that name for itself (compare: shard).
    if (command.options.some((o) => o.long === `--${key}`)) continue;
    const { about, group, commands } = META[key]!;
    const option = new Option(`--${key} ${placeholder(key)}`, `${about}${details(key)}`).helpGroup(HEADINGS[group]);
    // `config` would list all keys; reference.yaml does that better.
    if (purpose === 'config' || !commands.includes(purpose)) option.hideHelp();
    command.addOption(option);
  }
}

/** A switch may stand alone (`--shuffle` is `--shuffle true`); anything else takes the next word, also one that begins with "-". */
function placeholder(key: KeyName): string {
  if (expectation(key) === 'true or false') return '[true|false]';
  return takesNumber(key) ? '<number>' : choicesOf(key) ? '<name>' : '<text>';
}

function details(key: KeyName): string {
  const parts: string[] = [];
  const choices = choicesOf(key);
  if (choices && choices.length > 1) parts.push(choices.join(', '));
  const fallback = defaultOf(key);
  if (fallback !== undefined) parts.push(`default ${typeof fallback === 'string' ? fallback : JSON.stringify(fallback)}`);
  return parts.length > 0 ? ` (${parts.join('; ')})` : '';
}

/** Options that are no keys. */
const OTHERS = ['config', 'debug', 'quiet', 'verbose', 'resume', 'json', 'explain', 'schema', 'for', 'output', 'pairs', 'figures', 'tune'];

/** Keys among commander's options, as typed. */
export function flagsOf(options: Record<string, string | boolean>): Record<string, string> {
  const flags: Record<string, string> = {};
  for (const [name, value] of Object.entries(options)) if (!OTHERS.includes(name)) flags[name] = String(value);
  if (options['resume'] === true) flags['resume_from_checkpoint'] = 'last';
  return flags;
}

/** `--learning-rate` is `--learning_rate`. */
export function normalise(argument: string): string {
  const match = /^--([A-Za-z0-9_-]+)(=[^]*)?$/.exec(argument);
  const key = match?.[1]?.replaceAll('-', '_');
  return match && key !== undefined && KEYS.includes(key as KeyName) ? `--${key}${match[2] ?? ''}` : argument;
}

/** Names a mistyped flag may have meant. */
export const flagNames = (): string[] => [...KEYS, ...OTHERS, 'help'];
