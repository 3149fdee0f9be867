import { EdpoError } from '../errors.js';
import { closeGpus } from '../gpu/open.js';
import { loadFrozen } from '../model/frozen.js';
import { openModel } from '../model/models.js';
import { openDevice, openInputs } from '../model/session.js';
import type { AdapterJob, AdapterMessage } from './adapter_processes.js';
import { sampleAnswers } from './generate.js';
import { createIo, type CliIo } from './io.js';
import * as precompute from './precompute.js';

/** One process of a command that is shared among adapters (adapter_processes.ts): takes a job from its parent and says what became of it. */
let stop: (() => void) | undefined;
let stopped = false;
const tell = (m: AdapterMessage): Promise<void> => new Promise((done) => process.send!(m, () => done()));

// A terminal sends Ctrl-C to all its processes; the parent decides what it means.
process.on('SIGINT', () => undefined);
process.on('disconnect', () => process.exit(1));

/** Words to stderr alone: what stands on stdout is the parent's to say. */
const io: CliIo = {
  ...createIo({}), out: () => undefined,
  onInterrupt: (callback) => {
    stop = () => callback('stop');
    return () => (stop = undefined);
  },
};

async function sample({ config, model, prompts }: Extract<AdapterJob, { kind: 'sample' }>): Promise<void> {
  const aligned = config.realign !== undefined;
  const inputs = await openInputs(aligned ? config : { ...config, ref_model_name_or_path: undefined }, io);
  const folder = model === 'policy' ? inputs.policy : (await openModel(config.baseline, { offline: config.offline }, io)).folder;
  const gpu = await openDevice(config, io);
  const weights = await loadFrozen(gpu, folder, model, config, { io });
  const reference = aligned ? await loadFrozen(gpu, inputs.reference, 'reference', config, { io }) : undefined;
  await sampleAnswers(gpu, weights, prompts, config, inputs, (answer) => void tell({ type: 'answer', answer }), () => stopped, reference);
}

process.on('message', (m: AdapterJob | 'stop') => {
  if (m === 'stop') {
    stopped = true;
    stop?.();
    return;
  }
  const work = m.kind === 'sample' ? sample(m) : precompute.run(m.config, io, m.splits);
  void work.then(
    () => tell({ type: 'done' }),
    (error: unknown) => tell(error instanceof EdpoError ? { type: 'failed', message: error.message, hint: error.hint, exitCode: error.exitCode } : { type: 'failed', message: `internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`, exitCode: 1 }),
  ).then(async () => {
    await closeGpus();
    process.exit(0);
  });
});
