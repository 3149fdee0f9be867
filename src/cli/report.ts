import { InputError } from '../errors.js';
import { writeReport } from '../report/write_report.js';
import type { CliIo } from './io.js';

export interface ReportFlags {
  output?: string;
  pairs?: string;
}

/** `edpo report RUN [RUN...]`: one offline page. Its path and size go to stdout. */
export async function run(folders: string[], o: ReportFlags, io: CliIo): Promise<number> {
  const listed = o.pairs === undefined ? 10 : Number(o.pairs);
  if (!Number.isInteger(listed) || listed < 0 || listed > 1000) throw new InputError(`--pairs: expected a whole number from 0 to 1000, got ${o.pairs}`, '--pairs 10');
  const { path, bytes, runs, notes } = await writeReport({ folders, output: o.output, listed });
  for (const note of notes) io.say(`note: ${note}`);
  io.say(`report of ${runs.join(', ')}: ${path}`);
  io.out(JSON.stringify({ report: path, bytes, runs }));
  return 0;
}
