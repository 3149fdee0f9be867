import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { writeFailure } from '../../files/atomic.js';
import { crc32c } from '../../files/crc32c.js';
import { AppendLog } from '../append_log.js';
import { bytes, double, float, int64 } from './protobuf.js';
import type { LogSink } from './types.js';

const EVENTS = /^events\.out\.tfevents\.(\d+)\./;
const START = 1;

/** TFRecord's masked checksum: CRC-32C rotated right by 15 bits plus a constant. */
export const maskedCrc = (data: Uint8Array): number => {
  const crc = crc32c(data);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
};

/** One TFRecord: length (u64), its checksum, the data, their checksum; all little-endian. */
export function tfRecord(data: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeBigUInt64LE(BigInt(data.length));
  head.writeUInt32LE(maskedCrc(head.subarray(0, 8)), 8);
  const tail = Buffer.alloc(4);
  tail.writeUInt32LE(maskedCrc(data));
  return Buffer.concat([head, data, tail]);
}

/** transformers' names, `train/loss` and `eval/loss`; an evaluation's epoch is `eval/epoch`, or it would stand twice at its step. */
export function tagsOf(line: Record<string, number>): Array<[string, number]> {
  const evaluation = Object.keys(line).some((k) => k.startsWith('eval_'));
  return Object.entries(line).filter(([k, v]) => k !== 'step' && Number.isFinite(v)).map(([k, v]) => [k.startsWith('eval_') ? `eval/${k.slice(5)}` : `${evaluation ? 'eval' : 'train'}/${k}`, v]);
}

/**
 * TensorBoard event files (tensorflow/core/util/event.proto: wall_time 1, step 2, file_version 3, summary 5, session_log 7) in a folder of
 * their own. A resume begins a new file whose first event asks readers to forget every step after the checkpoint.
 */
export class TensorBoardSink implements LogSink {
  private readonly file: AppendLog;

  /** @param o.kept lines the log still holds: written out where the folder has no event file yet */
  constructor(folder: string, o: { step: number; resumed: boolean; kept: () => Array<Record<string, number>> }) {
    let before: string[] = [];
    try {
      mkdirSync(folder, { recursive: true });
      before = readdirSync(folder).filter((f) => EVENTS.test(f)).sort();
      if (!o.resumed) for (const f of before.splice(0)) rmSync(join(folder, f));
    } catch (cause) {
      throw writeFailure(folder, cause);
    }
    // Readers take the files by name: a new one comes last whatever the clock says.
    const newest = Math.max(0, ...before.map((f) => Number(EVENTS.exec(f)![1])));
    let seconds = Math.max(Math.floor(Date.now() / 1000), newest);
    if (seconds === newest) seconds++;
    const path = join(folder, `events.out.tfevents.${String(seconds).padStart(10, '0')}.edpo`);
    if (existsSync(path)) throw new Error(`${path} exists`);
    this.file = new AppendLog(path, 0);
    this.event(0, bytes(3, 'brain.Event:2'));
    if (o.resumed && before.length > 0) this.event(o.step + 1, bytes(7, int64(1, START)));
    else if (o.resumed) for (const line of o.kept()) this.write(line);
  }

  private event(step: number, what: Buffer): void {
    this.file.append(tfRecord(Buffer.concat([double(1, Date.now() / 1000), ...(step > 0 ? [int64(2, step)] : []), what])));
  }

  write(line: Record<string, number>): void {
    this.event(line['step']!, bytes(5, Buffer.concat(tagsOf(line).map(([tag, v]) => bytes(1, Buffer.concat([bytes(1, tag), float(2, v)]))))));
  }
  sync(): void {
    this.file.sync();
  }
  close(): void {
    this.file.close();
  }
}
