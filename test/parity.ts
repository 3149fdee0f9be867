/*
 * The parity table: every family against transformers, figures beside what is allowed. `npm run parity` (or `npm run parity -- gemma2 llama`); EDPO_ADAPTER
 * chooses the adapter. Exits 1 where something does not hold.
 */
import { openGpu } from '../src/gpu/device.js';
import { golden, parity, parityTable, type Parity } from './helpers/parity.js';

const gpu = await openGpu({ toggles: 'checked' });
console.log(`adapter: ${gpu.name} (${gpu.kind}); tiny models of each family, their goldens by transformers in f64`);
const asked = process.argv.slice(2);
const unknown = asked.filter((name) => !(name in golden.families));
if (unknown.length > 0) {
  console.error(`no family ${unknown.join(', ')}; there are ${Object.keys(golden.families).join(', ')}`);
  process.exit(2);
}
const rows: Parity[] = [];
const failures: string[] = [];
for (const name of asked.length > 0 ? asked : Object.keys(golden.families)) rows.push(await parity(gpu, name, (ok, what) => void (ok || failures.push(`${name}: ${what}`))));
for (const line of parityTable(rows)) console.log(line);
for (const line of failures) console.error(`does not hold: ${line}`);
gpu.close();
process.exit(failures.length > 0 ? 1 : 0);
