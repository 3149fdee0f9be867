import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { CsvSink } from './csv.js';
import { TensorBoardSink } from './tensorboard.js';
import type { LogSink, SinkName } from './types.js';

/** Lines of a log that ends at a line's end. */
export const logLines = (path: string): Array<Record<string, number>> =>
  existsSync(path) ? readFileSync(path, 'utf8').split('\n').filter(Boolean).map((l) => JSON.parse(l) as Record<string, number>) : [];

/**
 * Opens the sinks of a run whose trainer_log.jsonl is already cut back to the checkpoint.
 * @param o.step optimiser steps done: a resume's first new line is of step + 1
 * @param more others that are told of every line
 */
export function openSinks(names: readonly SinkName[], dir: string, o: { step: number; resumed: boolean }, more: readonly LogSink[] = []): LogSink {
  const log = join(dir, 'trainer_log.jsonl');
  const sinks = names.map((name): LogSink => (name === 'csv' ? new CsvSink(join(dir, 'trainer_log.csv'), () => logLines(log)) : new TensorBoardSink(join(dir, 'tensorboard'), { ...o, kept: () => logLines(log) }))).concat(more);
  return {
    write: (line) => sinks.forEach((s) => s.write(line)),
    sync: () => sinks.forEach((s) => s.sync()),
    close: () => sinks.forEach((s) => s.close()),
  };
}
