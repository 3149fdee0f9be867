import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { ModelFolder } from '../../src/model/files/hf_folder.js';

t.test('a remembered weights hash that a kill left empty is made again', async (t) => {
  const cache = t.testdir({});
  process.env['XDG_CACHE_HOME'] = cache;
  const folder = ModelFolder.open('examples/quickstart/model');
  const hash = folder.weightsHash();
  t.match(hash, /^[0-9a-f]{64}$/);
  const hashes = join(cache, 'edpo', 'hashes');
  const file = join(hashes, readdirSync(hashes)[0]!);
  writeFileSync(file, '');
  t.equal(folder.weightsHash(), hash);
  t.equal(readFileSync(file, 'utf8'), hash, 'and remembered whole');
  folder.close();
});
