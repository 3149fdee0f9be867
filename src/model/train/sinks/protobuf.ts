/** The little of protocol buffers' wire format (https://protobuf.dev/programming-guides/encoding) that TensorBoard's events need. */

const key = (field: number, wire: number): Buffer => varint((field << 3) | wire);

/** Base-128 varint of a whole number from 0 to 2^53. */
export function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  do {
    bytes.push((rest % 128) + (rest >= 128 ? 128 : 0));
    rest = Math.floor(rest / 128);
  } while (rest > 0);
  return Buffer.from(bytes);
}

export const int64 = (field: number, value: number): Buffer => Buffer.concat([key(field, 0), varint(value)]);

export function double(field: number, value: number): Buffer {
  const data = Buffer.alloc(8);
  data.writeDoubleLE(value);
  return Buffer.concat([key(field, 1), data]);
}

export function float(field: number, value: number): Buffer {
  const data = Buffer.alloc(4);
  data.writeFloatLE(value);
  return Buffer.concat([key(field, 5), data]);
}

/** A string, or a message already encoded. */
export function bytes(field: number, value: string | Buffer): Buffer {
  const data = Buffer.from(value);
  return Buffer.concat([key(field, 2), varint(data.length), data]);
}
