/** Reasons that truncation gives: by request, so counted and never an error. */
export const TOO_LONG = 'too long';
export const SAME_WHEN_CUT = 'identical once cut to max_length';

/** What became of the rows; goes to the terminal and the run manifest. */
export interface DataReport {
  rows: number;
  kept: number;
  dropped: Record<string, { count: number; first: number[] }>;
  promptsCut: number;
  responsesCut: number;
  format: string;
}

const LISTED = 8;

/** Counts the reasons for which rows were left out. */
export class RowCounts {
  readonly dropped: DataReport['dropped'] = {};
  /** Where the first row of each reason stands. */
  private readonly places = new Map<string, string>();

  drop(reason: string, id: number, where: string): void {
    if (!this.places.has(reason)) this.places.set(reason, where);
    const entry = (this.dropped[reason] ??= { count: 0, first: [] });
    entry.count++;
    if (entry.first.length < LISTED) entry.first.push(id);
  }

  /** One line for each reason that lies in the data itself. */
  problems(): string[] {
    return Object.entries(this.dropped)
      .filter(([reason]) => reason !== TOO_LONG && reason !== SAME_WHEN_CUT)
      .map(([reason, { count, first }]) => `${reason}: ${count} row${count > 1 ? 's' : ''} (${first.join(', ')}${count > first.length ? ', …' : ''}, counted from 0; the first is ${this.places.get(reason)!})`);
  }
}

/** The report in lines for a person. */
export function describeReport(r: DataReport): string[] {
  return [
    `${r.kept} of ${r.rows} rows kept (format ${r.format})`,
    ...Object.entries(r.dropped).map(([reason, { count, first }]) => `dropped, ${reason}: ${count} (rows ${first.join(', ')}${count > first.length ? ', …' : ''})`),
    ...(r.promptsCut > 0 ? [`prompts cut to their end: ${r.promptsCut}`] : []),
    ...(r.responsesCut > 0 ? [`responses cut: ${r.responsesCut}`] : []),
  ];
}
