import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import type { RunConfig } from '../config/keys.js';
import { InputError } from '../errors.js';
import { loadFrozen } from '../model/frozen.js';
import { Engine } from '../model/engine.js';
import type { ReferencePlan } from '../model/engine_types.js';
import { writeAtomic, writeFailure } from '../model/files/atomic.js';
import { lockFolder } from '../model/files/lock.js';
import { ensureCache } from '../model/reference.js';
import { documentsOf, groupSizeOf, hasEvalData, lossFor, lossOf, mismatchRoom, openDevice, openInputs, openSplit, requireBudget, sequenceCapacity, settingsOf, sidesOf, useDtype } from '../model/session.js';
import { evaluate } from '../model/train/evaluate.js';
import { ledgerLine } from '../model/train/lines.js';
import { noReferenceRows, type ReferenceSource } from '../model/train/types.js';
import type { CliIo } from './io.js';
import { Progress } from './progress.js';

/** `edpo eval`: a policy against a reference on preference pairs; pairs.ndjson and eval.json. */
export async function run(config: RunConfig, io: CliIo): Promise<number> {
  const inputs = await openInputs(config, io);
  // A folder has a test split; a file is taken whole.
  const split = hasEvalData(config) ? 'eval' : 'train';
  const store = await openSplit(config, inputs, split, sidesOf(lossOf(config)), io);
  const loss = lossFor(config, store);
  const source = documentsOf(store, loss, mismatchRoom(config, inputs.policy));
  requireBudget(source, config.token_budget);
  const off = config.ref_mode === 'adapter_off';
  if (off && !inputs.policy.adapter) throw new InputError(`ref_mode is adapter_off, and ${config.model_name_or_path!} is no LoRA adapter`, '--ref_model_name_or_path FOLDER');
  if (loss.needs.reference !== 'none' && !off && config.ref_model_name_or_path === undefined && config.ref_cache === undefined) {
    throw new InputError('a reference is needed: neither ref_model_name_or_path nor ref_cache is given', inputs.policy.adapter ? '--ref_mode adapter_off takes the adapter’s base' : '--ref_model_name_or_path FOLDER');
  }
  const dir = config.output_dir!;
  const unlock = lockFolder(dir, (n) => io.say(`note: ${n}`));
  try {
    const gpu = useDtype(await openDevice(config, io), config);
    const policy = await loadFrozen(gpu, inputs.policy, 'policy', config, { io });
    const settings = settingsOf(config, true);
    let plan: ReferencePlan = { kind: 'none' };
    let rows: ReferenceSource = noReferenceRows;
    if (loss.needs.reference !== 'none') {
      const reference = await loadFrozen(gpu, inputs.reference, 'reference', config, { io });
      if (config.ref_cache !== undefined && config.ref_mode === 'cache') {
        const cache = await ensureCache(config, inputs, store, split, loss, { gpu, io, reference: async () => reference, mayWrite: config.ref_model_name_or_path !== undefined });
        if (!cache.exactTies) io.warn('this cache comes from another adapter or other kernels: ties between policy and reference are not exact');
        rows = cache.source;
        plan = { kind: 'cache', ...(loss.needs.reference === 'hidden' ? { head: reference } : {}), rounded: cache.rounded };
      } else {
        plan = { kind: 'live', parameters: reference };
      }
    }
    const hidden = plan.kind === 'live' || (plan.kind === 'cache' && plan.head !== undefined);
    const capacity = { rows: config.token_budget, sequences: sequenceCapacity(config.token_budget) };
    const engine = await new Engine({ gpu, policy, loss, settings, reference: plan, capacity, groupSize: groupSizeOf(config), training: false, realign: config.realign }).ready();
    engine.setState(settings.beta);
    mkdirSync(dir, { recursive: true });
    const path = join(dir, 'pairs.ndjson');
    const fd = openSync(path, 'w');
    const each = (text: string): void => {
      try {
        writeSync(fd, text);
      } catch (cause) {
        throw writeFailure(path, cause);
      }
    };
    const { metrics, rows: run, scored } = await evaluate(engine, source, rows, { step: 0, reference: plan.kind !== 'none', hidden, each: (r) => each(ledgerLine(r)), progress: new Progress(io, 'eval', source.count) });
    closeSync(fd);
    const result = { pairs: store.count, ...(config.realign === undefined ? {} : { realign: config.realign }), beta: settings.beta, epsilon_check: settings.epsilonCheck, criterion: settings.criterion, ...metrics, rows: run, scored_rows: scored };
    writeAtomic(join(dir, 'eval.json'), `${JSON.stringify(result, null, 2)}\n`);
    io.out(JSON.stringify(result));
    gpu.close();
    return 0;
  } finally {
    unlock();
    store.close();
  }
}
