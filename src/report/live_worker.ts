import { workerData } from 'node:worker_threads';
import { writeReport } from './write_report.js';

// The thread of a live report: its error is the caller's to tell.
await writeReport({ folders: [workerData as string] });
