/** Somewhere else that log lines go beside trainer_log.jsonl. Throws EdpoError where the disk refuses. */
export interface LogSink {
  /** A line of trainer_log.jsonl, after it was written there. */
  write(line: Record<string, number>): void;
  /** What was written is on the disk before a checkpoint is sealed. */
  sync(): void;
  close(): void;
}

/** Names that `report_to` takes. */
export const SINKS = ['tensorboard', 'csv'] as const;
export type SinkName = (typeof SINKS)[number];
