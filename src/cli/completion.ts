import type { Command, Option } from 'commander';
import { choicesOf, expectation, takesNumber } from '../config/expect.js';
import { COMMANDS, KEYS, type KeyName } from '../config/keys.js';
import { InputError } from '../errors.js';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** Values of options that are no keys. */
const VALUES: Record<string, readonly string[]> = { for: COMMANDS, explain: KEYS };

/** What may follow a flag: words, a path, or something only the user knows. */
type After = { words: readonly string[] } | 'path' | 'other' | 'nothing';
interface Flag { name: string; about: string; after: After }
interface Listing { name: string; about: string; flags: Flag[]; /** What may stand without a flag. */ free: After }

function afterOf(option: Option): After {
  const name = option.long!.slice(2);
  if (!option.required && !option.optional) return 'nothing';
  const words = option.argChoices ?? VALUES[name] ?? (KEYS.includes(name as KeyName) ? choicesOf(name as KeyName) : undefined);
  if (words) return { words };
  if (option.optional || (KEYS.includes(name as KeyName) && expectation(name as KeyName) === 'true or false')) return { words: ['true', 'false'] };
  return KEYS.includes(name as KeyName) && takesNumber(name as KeyName) ? 'other' : 'path';
}

/** Commands and flags as the program has them; those hidden in help only where the command takes every key (`config`). */
function listing(program: Command): Listing[] {
  return program.commands.map((c) => {
    const shown = c.options.filter((o) => o.long && (!o.hidden || c.name() === 'config'));
    const argument = c.registeredArguments[0];
    return {
      name: c.name(), about: c.description(), free: argument?.argChoices ? { words: argument.argChoices } : argument ? 'path' : 'nothing',
      flags: [...shown.map((o) => ({ name: o.long!, about: o.description.replace(/\s+/g, ' '), after: afterOf(o) })), { name: '--help', about: 'what the command does, its options, examples', after: 'nothing' as const }],
    };
  });
}

/** Completion of commands, flags and the values of choices, as a script the shell sources. */
export function completionScript(shell: string, program: Command): string {
  const make = { bash, zsh, fish }[shell as Shell] as ((commands: Listing[], program: string) => string) | undefined;
  if (!make) throw new InputError(`completion: expected ${SHELLS.join(', ')}, got ${shell}`, 'edpo completion bash');
  return make(listing(program), program.name());
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;
const words = (a: After): string => (typeof a === 'object' ? a.words.join(' ') : '');
/** Shell patterns of flags by what follows them: one branch of a case for all flags alike. */
function branches(flags: Flag[]): Array<[string[], After]> {
  const groups = new Map<string, [string[], After]>();
  for (const { name, after } of flags) {
    const key = JSON.stringify(after);
    const group = groups.get(key) ?? [[], after];
    group[0].push(name);
    groups.set(key, group);
  }
  // What follows a switch is the next flag or argument.
  return [...groups.values()].filter(([, after]) => after !== 'nothing');
}

function bash(commands: Listing[], name: string): string {
  const reply = (after: After): string => (after === 'path' ? 'compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur"))' : after === 'other' || after === 'nothing' ? 'COMPREPLY=()' : `COMPREPLY=($(compgen -W ${quoted(words(after))} -- "$cur"))`);
  const one = (c: Listing): string => [
    `    ${c.name})`,
    '      case "$key" in',
    ...branches(c.flags).map(([flags, after]) => `        ${flags.join('|')}) ${reply(after)}; return;;`),
    '      esac',
    `      if [[ "$cur" == -* ]]; then COMPREPLY=($(compgen -W ${quoted(c.flags.map((f) => f.name).join(' '))} -- "$cur")); else ${reply(c.free)}; fi`,
    '      ;;',
  ].join('\n');
  return `# bash completion of ${name}; to have it in every shell: ${name} completion bash > ~/.local/share/bash-completion/completions/${name}
_${name}() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" key=""
  # bash takes "--beta=0.1" for three words.
  if [[ "$cur" == "=" ]]; then cur=""; key="\${COMP_WORDS[COMP_CWORD-1]}"
  elif ((COMP_CWORD > 1)) && [[ "\${COMP_WORDS[COMP_CWORD-1]}" == "=" ]]; then key="\${COMP_WORDS[COMP_CWORD-2]}"
  elif ((COMP_CWORD > 0)); then key="\${COMP_WORDS[COMP_CWORD-1]}"; fi
  # --learning-rate is --learning_rate.
  [[ "$key" == --* ]] && key="--$(printf %s "\${key:2}" | tr - _)"
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then COMPREPLY=($(compgen -W ${quoted([...commands.map((c) => c.name), '--help', '--version'].join(' '))} -- "$cur")); return; fi
  case "\${COMP_WORDS[1]}" in
${commands.map(one).join('\n')}
  esac
}
complete -F _${name} ${name}`;
}

function zsh(commands: Listing[], name: string): string {
  const item = (word: string, about: string): string => quoted(`${word.replaceAll(':', '\\:')}:${about}`);
  const reply = (after: After): string => (after === 'path' ? '_files' : after === 'other' || after === 'nothing' ? 'true' : `compadd -- ${after.words.map(quoted).join(' ')}`);
  const one = (c: Listing): string => [
    `    ${c.name})`,
    '      case "$key" in',
    ...branches(c.flags).map(([flags, after]) => `        ${flags.join('|')}) ${reply(after)}; return;;`),
    '      esac',
    `      list=(${c.flags.map((f) => item(f.name, f.about)).join(' ')})`,
    `      if [[ "$PREFIX" == -* ]]; then _describe option list; else ${reply(c.free)}; fi`,
    '      ;;',
  ].join('\n');
  return `#compdef ${name}
# zsh completion of ${name}; to have it in every shell: ${name} completion zsh > a folder of $fpath under the name _${name}
_${name}() {
  local key="\${words[CURRENT-1]}"
  local -a list
  if [[ "$PREFIX" == --*=* ]]; then key="\${PREFIX%%=*}"; compset -P '*='; fi
  [[ "$key" == --* ]] && key="--\${\${key#--}//-/_}"
  if ((CURRENT == 2)); then
    list=(${commands.map((c) => item(c.name, c.about)).join(' ')})
    _describe command list
    return
  fi
  case "\${words[2]}" in
${commands.map(one).join('\n')}
  esac
}
if [[ "\${funcstack[1]}" == _${name} ]]; then _${name} "$@"; else compdef _${name} ${name}; fi`;
}

function fish(commands: Listing[], name: string): string {
  // In fish only the backslash and the quote are special within quotes.
  const q = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
  const lines = [`# fish completion of ${name}; to have it in every shell: ${name} completion fish > ~/.config/fish/completions/${name}.fish`, `complete -c ${name} -f`];
  for (const c of commands) {
    lines.push(`complete -c ${name} -n __fish_use_subcommand -a ${c.name} -d ${q(c.about)}`);
    const here = `-n ${q(`__fish_seen_subcommand_from ${c.name}`)}`;
    if (c.free !== 'nothing') lines.push(`complete -c ${name} ${here} ${c.free === 'path' ? '-F' : `-a ${q(words(c.free))}`}`);
    for (const f of c.flags) {
      const value = f.after === 'nothing' ? '' : f.after === 'path' ? ' -r -F' : f.after === 'other' ? ' -x' : ` -x -a ${q(words(f.after))}`;
      lines.push(`complete -c ${name} ${here} -l ${f.name.slice(2)} -d ${q(f.about)}${value}`);
    }
  }
  return lines.join('\n');
}
