import { readdirSync } from 'node:fs';
import { EdpoError } from '../src/errors.js';

/** A benchmark: `bench/<name>.ts` with `run`. NDJSON to stdout (or `--out`), a table to stderr. */
export interface Bench {
  run(args: string[]): Promise<void>;
}

/** In this order when none is named. */
const NAMES = ['ceilings', 'matmul', 'kernels', 'step', 'paths', 'creep', 'scaling', 'generate', 'methods', 'tokenise', 'pairrm', 'buffers', 'peers', 'peers_js'];

const here = new URL('.', import.meta.url);
const built = new Set(readdirSync(here));
const benches = NAMES.filter((name) => built.has(`${name}.js`));

async function main(args: string[]): Promise<void> {
  const named = args[0] && !args[0].startsWith('-') ? args.shift()! : undefined;
  if (named && !benches.includes(named)) {
    throw new EdpoError(`no benchmark "${named}"`, { hint: `npm run bench -- ${benches.join(' | ')} [--help]`, exitCode: 2 });
  }
  for (const name of named ? [named] : benches) {
    const bench = (await import(new URL(`${name}.js`, here).href)) as Bench;
    await bench.run(args);
  }
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error: unknown) => {
    const known = error instanceof EdpoError;
    process.stderr.write(`${known ? `error: ${error.message}${error.hint ? `\nhint: ${error.hint}` : ''}` : (error as Error).stack}\n`);
    process.exit(known ? error.exitCode : 1);
  },
);
