import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { EdpoError, InputError } from '../../errors.js';
import { bytesPer, decode, encode, type FloatFormat } from './float_formats.js';

/** What a file of edpo's holds: floats, or words of packed codes. */
type StoredFormat = FloatFormat | 'U32';
const bytesOf: Record<StoredFormat, number> = { ...bytesPer, U32: 4 };

export interface TensorEntry {
  dtype: StoredFormat;
  shape: number[];
  /** Absolute bytes in the file. */
  begin: number;
  end: number;
}

const MAX_HEADER = 100_000_000;
const CHUNK = 64 << 20;

/** An open safetensors file: its header checked against the file, its tensors read by position. */
export class SafetensorsFile {
  private constructor(
    readonly path: string,
    readonly tensors: Map<string, TensorEntry>,
    readonly metadata: Record<string, string>,
    private readonly fd: number,
  ) {}

  /**
   * Reads and checks the header. Throws InputError for a truncated file or a header that does not fit it.
   * @param passBy names of tensors that may be of any type and are not among `tensors`.
   * @param words the file may hold U32 tensors (checkpoints' codes and packed values), for `readU32`
   */
  static open(path: string, passBy?: RegExp, words = false): SafetensorsFile {
    let fd: number;
    try {
      fd = openSync(path, 'r');
    } catch (cause) {
      throw new InputError(`cannot open ${path}: ${(cause as Error).message}`);
    }
    try {
      const size = fstatSync(fd).size;
      const bad = (why: string): InputError => new InputError(`${path} is not a whole safetensors file: ${why}`, 'copy or download the file again');
      if (size < 8) throw bad(`${size} bytes, shorter than the 8 of the header length`);
      const length = Number(readAt(fd, 0, 8).readBigUInt64LE());
      if (length > MAX_HEADER || 8 + length > size) throw bad(`the header says ${length} bytes, the file has ${size}`);
      let header: Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;
      try {
        header = JSON.parse(readAt(fd, 8, length).toString('utf8')) as typeof header;
      } catch (cause) {
        throw bad(`the header is no JSON (${(cause as Error).message})`);
      }
      const tensors = new Map<string, TensorEntry>();
      let metadata: Record<string, string> = {};
      const spans: Array<[number, number, string]> = [];
      for (const [name, entry] of Object.entries(header)) {
        if (name === '__metadata__') {
          metadata = entry as unknown as Record<string, string>;
          continue;
        }
        if (passBy?.test(name)) continue;
        if (!(entry.dtype in (words ? bytesOf : bytesPer))) throw unreadable(path, name, entry.dtype);
        const dtype = entry.dtype as StoredFormat;
        const [from, to] = entry.data_offsets ?? [NaN, NaN];
        const expected = (entry.shape ?? []).reduce((a, b) => a * b, bytesOf[dtype]);
        if (!(from >= 0) || to - from !== expected) throw bad(`tensor ${name} [${entry.shape}] ${dtype} needs ${expected} bytes, its offsets give ${to - from}`);
        if (8 + length + to > size) throw bad(`tensor ${name} ends at byte ${8 + length + to}, the file has ${size}`);
        spans.push([from, to, name]);
        tensors.set(name, { dtype, shape: entry.shape, begin: 8 + length + from, end: 8 + length + to });
      }
      spans.sort((a, b) => a[0] - b[0]);
      for (let i = 1; i < spans.length; i++) {
        if (spans[i]![0] < spans[i - 1]![1]) throw bad(`tensors ${spans[i - 1]![2]} and ${spans[i]![2]} overlap`);
      }
      return new SafetensorsFile(path, tensors, metadata, fd);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  }

  /** Rows [first, first + rows) of a tensor (all by default) as f32. */
  readF32(name: string, first = 0, rows?: number): Float32Array {
    const { dtype, shape, begin, end } = this.entry(name);
    const rowBytes = (end - begin) / Math.max(1, shape[0] ?? 1);
    const bytes = rows === undefined ? end - begin - first * rowBytes : rows * rowBytes;
    if (dtype === 'U32') throw new EdpoError(`${this.path}: tensor ${name} holds words, not numbers`);
    return decode(this.readBytes(begin + first * rowBytes, bytes), dtype);
  }

  /** All words of a U32 tensor. */
  readU32(name: string): Uint32Array {
    const { begin, end } = this.entry(name);
    const bytes = this.readBytes(begin, end - begin);
    return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
  }

  /** The tensor's bytes, chunk by chunk (hashing). */
  *rawChunks(name: string): Generator<Uint8Array> {
    const { begin, end } = this.entry(name);
    for (let at = begin; at < end; at += CHUNK) yield this.readBytes(at, Math.min(CHUNK, end - at));
  }

  private readBytes(position: number, bytes: number): Uint8Array {
    return readAt(this.fd, position, bytes);
  }
  private entry(name: string): TensorEntry {
    const entry = this.tensors.get(name);
    if (!entry) throw new EdpoError(`${this.path} has no tensor ${name}`);
    return entry;
  }
  close(): void {
    closeSync(this.fd);
  }
}

/** GPTQ's and AWQ's files hold integers under these names, also where config.json says nothing of it. */
const FOREIGN = /\.(qweight|qzeros|g_idx)$/;

function unreadable(path: string, name: string, dtype: string): InputError {
  if (FOREIGN.test(name)) return new InputError(`${path}: tensor ${name} (${dtype}) is of a GPTQ or AWQ checkpoint, whose weights are quantised; edpo reads F32, F16 and BF16`, 'take the checkpoint that the quantised one was made from');
  return new InputError(`${path}: tensor ${name} has dtype ${dtype}; edpo reads F32, F16 and BF16`, 'save the model in one of these (save_pretrained after .to(torch.bfloat16)), or take another checkpoint');
}

function readAt(fd: number, position: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  let at = 0;
  while (at < bytes) {
    const n = readSync(fd, buffer, at, Math.min(bytes - at, 1 << 30), position + at);
    if (n === 0) throw new EdpoError(`a file ended ${bytes - at} bytes early while it was read; did something overwrite it?`);
    at += n;
  }
  return buffer;
}

/** A tensor to write; `read` gives rows [first, first + rows) as f32, of a U32 tensor their words. */
export interface TensorSource {
  name: string;
  dtype: StoredFormat;
  shape: number[];
  read(first: number, rows: number): Float32Array | Uint32Array | Promise<Float32Array | Uint32Array>;
}

/** Writes tensors in the given order, a few rows at a time, and fsyncs. `path` should be a temporary name (see atomic.ts). */
export async function writeSafetensors(path: string, tensors: TensorSource[], metadata: Record<string, string> = { format: 'pt' }): Promise<void> {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let offset = 0;
  for (const t of tensors) {
    const bytes = t.shape.reduce((a, b) => a * b, bytesOf[t.dtype]);
    header[t.name] = { dtype: t.dtype, shape: t.shape, data_offsets: [offset, offset + bytes] };
    offset += bytes;
  }
  let text = JSON.stringify(header);
  text += ' '.repeat((8 - (Buffer.byteLength(text) % 8)) % 8);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(text)));
  const file = await open(path, 'w');
  try {
    await file.writeFile(Buffer.concat([length, Buffer.from(text)]));
    for (const t of tensors) {
      const total = t.shape[0] ?? 1;
      const rowBytes = t.shape.slice(1).reduce((a, b) => a * b, bytesOf[t.dtype]);
      const rows = Math.max(1, Math.floor(CHUNK / rowBytes));
      for (let first = 0; first < total; first += rows) {
        const values = await t.read(first, Math.min(rows, total - first));
        await file.appendFile(values instanceof Uint32Array || t.dtype === 'U32' ? new Uint8Array(values.buffer, values.byteOffset, values.byteLength) : encode(values, t.dtype));
      }
    }
    await file.sync();
  } finally {
    await file.close();
  }
}
