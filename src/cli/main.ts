import { Argument, Command, CommanderError, Option } from 'commander';
import type { Command as ConfigCommand } from '../config/keys.js';
import { loadConfig } from '../config/load.js';
import { nearest } from '../config/nearest.js';
import type { RunConfig } from '../config/keys.js';
import { closeGpus } from '../gpu/open.js';
import { EdpoError } from '../errors.js';
import { VERSION } from '../version.js';
import { completionScript, SHELLS } from './completion.js';
import { addKeyFlags, flagNames, flagsOf, normalise } from './flags.js';
import { createIo, type CliIo, type Loudness } from './io.js';
import { manual } from './manual.js';
import type { ReportFlags } from './report.js';

type Runner = { run(config: RunConfig, io: CliIo): Promise<number> };

/** Commands that take a configuration: what they do, and their module. */
const CONFIGURED: Record<ConfigCommand, { about: string; load: () => Promise<Runner> }> = {
  train: { about: 'train a policy on preference pairs', load: () => import('./train.js') },
  sft: { about: 'fine-tune on responses (the stage before preferences)', load: () => import('./train.js') },
  'precompute-ref': { about: 'write the reference’s log-probs (and hidden states) to a cache', load: () => import('./precompute.js') },
  eval: { about: 'score a policy on preference pairs without training', load: () => import('./eval.js') },
  'eval-winrate': { about: 'sample answers and let a judge compare them', load: () => import('./winrate.js') },
  generate: { about: 'sample answers', load: () => import('./generate.js') },
  plan: { about: 'say what a run would take: steps, rows, memory, disk', load: () => import('./plan.js') },
  inspect: { about: 'show rows as tokens, with what is scored', load: () => import('./inspect.js') },
  merge: { about: 'write a LoRA adapter and its base as one whole model', load: () => import('./merge.js') },
};

/** Commands with something to continue. */
const RESUMING = ['train', 'sft', 'precompute-ref'];
/** Commands whose result is a listing: text for people, or JSON. */
const LISTING = ['plan', 'inspect'];
const ENVIRONMENT = 'Environment: EDPO_KEY gives a key’s default (EDPO_OUTPUT_DIR=runs; a file and flags win); HF_TOKEN, HF_ENDPOINT, HF_HUB_CACHE, HF_HUB_OFFLINE as in Hugging Face’s tools; NO_COLOR.';
const io = createIo({ debug: process.argv.includes('--debug') });
/** For errors: --quiet does not silence them. */
const loud = createIo({ debug: io.debug });

const withCommon = (command: Command): Command => command.option('-q, --quiet', 'warnings and errors alone').option('--verbose', 'what is done behind the scenes, too').option('--debug', 'stack traces and a debug log');
const jsonFlag = ['--json', 'JSON on stdout instead of text'] as const;

function build(finish: (code: number) => void): Command {
  const program = withCommon(new Command('edpo'))
    .description('Align language models with preference data on any GPU that WebGPU reaches.')
    .version(VERSION)
    .showHelpAfterError(false)
    .configureOutput({ writeOut: (text) => io.out(text.trimEnd()), writeErr: () => undefined })
    .addHelpText('after', '\nExit codes: 0 done, 1 the run failed, 2 usage, configuration or input, 130 interrupted.\nExample:\n  edpo doctor\n  edpo train --help\n  source <(edpo completion bash)')
    .hook('preAction', (_, action) => void Object.assign(io, createIo(action.optsWithGlobals<Loudness>())));
  for (const [name, { about, load }] of Object.entries(CONFIGURED)) {
    const command = withCommon(program.command(name).description(about).option('--config <file>', 'YAML file; flags win over it'));
    if (LISTING.includes(name)) command.option(...jsonFlag);
    if (RESUMING.includes(name)) command.option('--resume', 'continue from the last checkpoint');
    addKeyFlags(command, name as ConfigCommand);
    command.addHelpText('after', manual(name, ENVIRONMENT));
    command.action(async (options: Record<string, string | boolean>) => {
      const { config, notes } = loadConfig({ file: options['config'] as string | undefined, flags: flagsOf(options), env: process.env, command: name as ConfigCommand });
      for (const note of notes) io.say(`note: ${note}`);
      const module = await load();
      finish(await (name === 'sft' ? module.run({ ...config, loss_type: 'sft' }, io) : module.run(config, io)));
    });
  }
  withCommon(program.command('doctor').description('say which adapter answers, what it can, and whether it computes rightly'))
    .addOption(new Option('--adapter <name>', 'as in training').default('auto').env('EDPO_ADAPTER')).option('--tune', 'measure tiles of products on this adapter and keep the fastest for later runs').option(...jsonFlag)
    .addHelpText('after', manual('doctor'))
    .action(async (o: { adapter: string; json?: boolean; tune?: boolean }) => finish(await (await import('./doctor.js')).run(o, io)));
  const compare = withCommon(program.command('compare').description('methods x overrides x seeds over one data set and one reference cache: one table, one page; resumes').option('--config <file>', 'the comparison: base, output_dir, methods, overrides, seeds, winrate, checkpoints, realign, targets').option('--shard <i/n>', 'only the i-th (from 0) of n parts of the grid').option('--figures', 'each figure of the page also as SVG and CSV, in output_dir/figures'));
  addKeyFlags(compare, 'train');
  compare.addHelpText('after', manual('compare'))
    .action(async ({ config, shard, figures, ...o }: Record<string, string | boolean>) => finish(await (await import('./compare.js')).run({ config: config as string | undefined, shard: shard as string | undefined, figures: figures === true, keys: flagsOf(o) }, io)));
  withCommon(program.command('methods').description('list the losses: formula, paper, what each needs of the reference, its parameters').option(...jsonFlag))
    .addHelpText('after', manual('methods'))
    .action(async (o: { json?: boolean }) => finish((await import('./methods.js')).run(o, io)));
  withCommon(program.command('report <runs...>').description('one offline page about runs: plots, pairs, evaluations, win rates, configuration').option('--output <file>', 'report.html in the run; of several runs, report.html here'))
    .option('--pairs <n>', 'pairs (with their texts) in each list; 0: none', '10')
    .addHelpText('after', manual('report'))
    .action(async (folders: string[], o: ReportFlags) => finish(await (await import('./report.js')).run(folders, o, io)));
  const config = withCommon(program.command('config [file]').description('print a configuration in full, explain a key, or another trainer’s file').option('--config <file>', 'the same as FILE'))
    .option('--explain <key|file>', 'what a key means; of a file, what becomes of each key').option('--schema', 'JSON Schema of the configuration').option('--for <command>', 'check it as this command would').option(...jsonFlag)
    .addHelpText('after', manual('config', ENVIRONMENT));
  addKeyFlags(config, 'config');
  config.action(async (file: string | undefined, o: Record<string, string | boolean>) => finish(await (await import('./config.js')).run(file ?? (o['config'] as string | undefined), { ...o, flags: flagsOf(o) }, io)));
  withCommon(program.command('completion').description('print a script that completes commands, keys and values').addArgument(new Argument('<shell>', 'which shell').choices(SHELLS)))
    .addHelpText('after', manual('completion'))
    .action((shell: string) => io.out(completionScript(shell, program)));
  const all = [program, ...program.commands];
  // Long names of keys leave little room on a narrow terminal: descriptions are wrapped all the same.
  for (const command of all) command.exitOverride().configureHelp({ minWidthToWrap: 24 });
  return program;
}

/** What commander found wrong with the command line, in our words. */
function usage(error: CommanderError): number {
  if (error.exitCode === 0) return 0;
  if (error.code === 'commander.help') {
    loud.say(program.helpInformation().trimEnd());
    return 2;
  }
  const flag = /unknown option '--?([^'=]+)/.exec(error.message)?.[1];
  const command = /unknown command '([^']+)'/.exec(error.message)?.[1];
  const near = flag ? nearest(flag, flagNames()) : command ? nearest(command, program.commands.map((c) => c.name())) : undefined;
  const file = error.code === 'commander.excessArguments' ? process.argv.slice(3).find((a) => /\.ya?ml$/.test(a)) : undefined;
  const hint = near ? `did you mean ${flag ? '--' : 'edpo '}${near}?` : file ? `--config ${file}` : 'edpo --help lists the commands, edpo COMMAND --help the options';
  loud.say(`edpo: ${error.message.replace(/^error: /, '').split('\n')[0]}`);
  loud.say(`hint: ${hint}`);
  return 2;
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return usage(error);
  if (error instanceof EdpoError) {
    loud.say(`edpo: ${error.message}`);
    if (error.hint) loud.say(`hint: ${error.hint}`);
    if (loud.debug) loud.say(error.stack ?? '');
    return error.exitCode;
  }
  loud.say(`edpo: internal error: ${error instanceof Error ? error.message : String(error)}`);
  if (loud.debug && error instanceof Error) loud.say(error.stack ?? '');
  else loud.say('hint: run again with --debug and report what it prints');
  return 1;
}

// Errors outside the command's own promise (an event's callback) end the run in the same words.
process.on('uncaughtException', (error) => process.exit(report(error)));

// A run of a comparison that was killed.
if (process.env['EDPO_END_WITH_PARENT'] && process.channel) {
  process.once('disconnect', () => process.exit(1));
  process.channel.unref();
}

let code = 0;
const program = build((c) => (code = c));
try {
  await program.parseAsync(process.argv.map((a, i) => (i < 2 ? a : normalise(a))));
} catch (error) {
  code = report(error);
}
// Dawn keeps threads alive; everything is flushed by now.
await closeGpus();
process.exit(code);

