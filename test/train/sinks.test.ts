import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { openSinks } from '../../src/model/train/sinks/index.js';
import { maskedCrc, tagsOf } from '../../src/model/train/sinks/tensorboard.js';
import { edpo, tinyFolder, tinyPairs } from '../helpers/cli.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-sinks-'));
t.teardown(() => rmSync(dir, { recursive: true, force: true }));
type Line = Record<string, number>;
const lines = (path: string): Line[] => readFileSync(path, 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Line);

interface Event { step: number; version?: string; start: boolean; values: Record<string, number> }

/** Fields of a message: number → values, each a number (varint, float, double) or bytes. */
function fields(data: Buffer): Array<[number, number | Buffer]> {
  const found: Array<[number, number | Buffer]> = [];
  let at = 0;
  const varint = (): number => {
    let [value, scale] = [0, 1];
    for (;;) {
      const byte = data[at++]!;
      value += (byte & 127) * scale;
      scale *= 128;
      if (byte < 128) return value;
    }
  };
  while (at < data.length) {
    const key = varint();
    const [field, wire] = [key >>> 3, key & 7];
    if (wire === 0) found.push([field, varint()]);
    else if (wire === 1) found.push([field, data.readDoubleLE((at += 8) - 8)]);
    else if (wire === 5) found.push([field, data.readFloatLE((at += 4) - 4)]);
    else {
      const length = varint();
      found.push([field, data.subarray(at, (at += length))]);
    }
  }
  return found;
}

/** Events of a run's folder, file after file, checksums checked. */
function events(folder: string): Event[] {
  return readdirSync(folder).sort().flatMap((f) => {
    const data = readFileSync(join(folder, f));
    const found: Event[] = [];
    for (let at = 0; at < data.length; ) {
      const length = Number(data.readBigUInt64LE(at));
      const body = data.subarray(at + 12, at + 12 + length);
      if (data.readUInt32LE(at + 8) !== maskedCrc(data.subarray(at, at + 8)) || data.readUInt32LE(at + 12 + length) !== maskedCrc(body)) throw new Error(`${f} at ${at}: checksum`);
      const event: Event = { step: 0, start: false, values: {} };
      for (const [n, v] of fields(body)) {
        if (n === 2) event.step = v as number;
        if (n === 3) event.version = String(v);
        if (n === 7) event.start = fields(v as Buffer).some(([k, s]) => k === 1 && s === 1);
        if (n === 5) for (const [, value] of fields(v as Buffer)) {
          const parts = new Map(fields(value as Buffer));
          event.values[String(parts.get(1))] = parts.get(2) as number;
        }
      }
      found.push(event);
      at += 16 + length;
    }
    return found;
  });
}

/** What a reader that honours purges is left with: (tag, step) → value. */
function scalars(all: Event[]): Map<string, number> {
  const kept = new Map<string, number>();
  for (const e of all) {
    if (e.start) for (const key of [...kept.keys()]) if (Number(key.split(' ')[1]) >= e.step) kept.delete(key);
    for (const [tag, v] of Object.entries(e.values)) {
      if (kept.has(`${tag} ${e.step}`)) throw new Error(`${tag} twice at step ${e.step}`);
      kept.set(`${tag} ${e.step}`, v);
    }
  }
  return kept;
}
const wanted = (log: Line[]): Map<string, number> => new Map(log.flatMap((l) => tagsOf(l).map(([tag, v]): [string, number] => [`${tag} ${l['step']}`, Math.fround(v)])));
const sorted = (m: Map<string, number>): Array<[string, number]> => [...m].sort(([a], [b]) => (a < b ? -1 : 1));
/** The CSV's rows as log lines. */
const csv = (path: string): Line[] => {
  const [head, ...rows] = readFileSync(path, 'utf8').trim().split('\n').map((l) => l.split(','));
  return rows.map((r) => Object.fromEntries(head!.flatMap((k, i): Array<[string, number]> => (r[i] === '' ? [] : [[k, Number(r[i])]]))));
};

t.test('masked checksum of known bytes', async (t) => {
  // CRC-32C of 32 zero bytes is 0x8a9136aa (RFC 3720, B.4).
  const crc = 0x8a9136aa;
  t.equal(maskedCrc(Buffer.alloc(32)), (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0);
});

t.test('lines that bring new keys; a resume repeats no step; a sink turned on later has what came before', async (t) => {
  const run = mkdtempSync(join(dir, 'unit-'));
  const log = join(run, 'trainer_log.jsonl');
  const all: Line[] = [{ step: 0, epoch: 0, eval_loss: 0.7 }, { step: 1, loss: 0.69, a: 1 }, { step: 2, epoch: 0.5, loss: 0.5 }, { step: 2, epoch: 0.5, eval_loss: 0.6, eval_b: -3 }, { step: 3, loss: 0.4 }];
  const write = (text: Line[]): void => writeFileSync(log, text.map((l) => `${JSON.stringify(l)}\n`).join(''));
  const put = (names: Array<'csv' | 'tensorboard'>, from: number, to: number, resumed: boolean): void => {
    write(all.slice(0, from));
    const sinks = openSinks(names, run, { step: from === 0 ? 0 : all[from - 1]!['step']!, resumed });
    for (let i = from; i < to; i++) {
      write(all.slice(0, i + 1));
      sinks.write(all[i]!);
    }
    sinks.sync();
    sinks.close();
  };
  put(['csv'], 0, 5, false);
  t.same(csv(join(run, 'trainer_log.csv')), all);
  // Killed after line 5; the checkpoint is at step 2, and tensorboard is asked for from here on.
  put(['csv', 'tensorboard'], 4, 5, true);
  t.same(csv(join(run, 'trainer_log.csv')), all, 'csv after a resume');
  t.same(sorted(scalars(events(join(run, 'tensorboard')))), sorted(wanted(all)), 'events with what the log held');
  put(['csv', 'tensorboard'], 2, 5, true);
  t.equal(readdirSync(join(run, 'tensorboard')).length, 2);
  t.same(sorted(scalars(events(join(run, 'tensorboard')))), sorted(wanted(all)), 'a second resume from an earlier step');
  put(['tensorboard'], 0, 1, false);
  t.same(sorted(scalars(events(join(run, 'tensorboard')))), sorted(wanted(all.slice(0, 1))), 'a new start leaves no old events');
});

t.test('a real run that loses its device and is resumed: events and CSV say what the log says', async (t) => {
  const model = await tinyFolder(join(dir, 'model'));
  const data = tinyPairs(join(dir, 'train.jsonl'), 64);
  const out = join(dir, 'run');
  const args = ['train', '--model_name_or_path', model, '--data_files', data, '--eval_data_files', data, '--loss_type', 'epsilon_dpo', '--beta', '0.1', '--total_batch_size', '8', '--num_train_epochs', '1', '--learning_rate', '3e-3', '--token_budget', '128',
    '--logging_steps', '1', '--eval_strategy', 'steps', '--eval_steps', '2', '--save_steps', '4', '--report_to', 'tensorboard,csv,wandb', '--output_dir', out];
  const lost = edpo(args, { env: { EDPO_FAULT: 'device_lost:6' } });
  t.equal(lost.code, 1, lost.err);
  t.match(lost.err, /note: --report_to: wandb is not used/);
  const r = edpo([...args, '--resume']);
  t.equal(r.code, 0, r.err);
  const log = lines(join(out, 'trainer_log.jsonl'));
  t.equal(log.filter((l) => 'loss' in l).length, 8);
  t.same(csv(join(out, 'trainer_log.csv')), log);
  const all = events(join(out, 'tensorboard'));
  t.equal(all.filter((e) => e.version === 'brain.Event:2').length, 2, 'two files');
  t.equal(all.find((e) => e.start)!.step, 5, 'the second begins by purging what is after the checkpoint');
  t.same(sorted(scalars(all)), sorted(wanted(log)));
});
