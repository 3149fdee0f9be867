import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { jsonItems } from '../../src/model/data/json_array.js';
import { rows, type Row } from '../../src/model/data/rows.js';

const folder = mkdtempSync(join(tmpdir(), 'edpo-rows-test-'));
t.teardown(() => rmSync(folder, { recursive: true }));
let files = 0;
const file = (name: string, body: string | Buffer): string => {
  const path = join(folder, `${files++}-${name}`);
  writeFileSync(path, body);
  return path;
};
const all = async (path: string): Promise<Row[]> => {
  const found: Row[] = [];
  for await (const row of rows(path)) found.push(row);
  return found;
};
const values = async (path: string): Promise<unknown[]> => (await all(path)).map((r) => r.value);

t.test('JSON arrays: one item at a time, whatever the strings hold and wherever the blocks end', async (t) => {
  const items = Array.from({ length: 700 }, (_, i) => ({ text: `${i} ] , [ { } "quoted" \\ é 中 😀 ${'x'.repeat(i % 257)}`, nested: [{ a: [1, [2]] }, []], empty: {} }));
  for (const [name, body] of [['a.json', JSON.stringify(items)], ['b.json', JSON.stringify(items, null, 2)], ['c.json.gz', gzipSync(`\n ${JSON.stringify(items)}\n\n`)], ['d.json', `\ufeff${JSON.stringify(items)}`]] as const) {
    t.same(await values(file(name, body)), items, name);
  }
  t.same(await values(file('e.json', '[]')), []);
  t.same(await values(file('f.json', ' [ ] \n')), []);
  t.equal((await all(file('g.json', '[\n{"a":1},\n\n{"a":2}]')))[1]!.where.replace(/.*-/, ''), 'g.json item 1 (line 4)');
  const texts: string[] = [];
  for await (const { text } of jsonItems(file('h.json', '[1, "a,]" ,null]'))) texts.push(text.trim());
  t.same(texts, ['1', '"a,]"', 'null']);
});

t.test('JSON arrays: each fault with its line', async (t) => {
  const fault = (body: string | Buffer, message: RegExp, name = 'x.json'): Promise<unknown> => t.rejects(all(file(name, body)), { message, exitCode: 2 });
  await fault('{"rows":[]}', /expected an array of rows, got an object/);
  await fault('7', /expected an array of rows, got something else/);
  await fault('', /ends on line 1 without an array of rows/);
  await fault('[{"a":1},\n{"a":', /ends on line 2 in the middle of the array/);
  await fault('[{"a":1}', /ends on line 1 in the middle of the array/);
  await fault('[{"a":1},\n]', /line 2 is no JSON: expected a row/);
  await fault('[,{"a":1}]', /line 1 is no JSON: expected a row/);
  await fault('[{"a":1}]\n[]', /line 2 is no JSON: expected nothing behind the array/);
  await fault('[{"a":1},\n{"a" 2}]', /item 1 \(line 2\) is no JSON/);
  await fault('[{"a":1},\n{"a":}}]', /line 2 is no JSON: expected a comma or the end of the array/);
  await fault('[{"a":1},\n[3]]', /item 1 \(line 2\): expected an object with columns, got an array/);
  await fault(Buffer.from('[{"a":"b"},\n{"a":"\xe9"}]', 'latin1'), /the item that begins on line 2 is not valid UTF-8/);
});

t.test('JSON lines: byte-order mark, empty lines, a cut gz, a file that is none', async (t) => {
  t.same(await values(file('a.jsonl', '\ufeff{"a":1}\r\n\n{"a":"\u2028\u0085"}')), [{ a: 1 }, { a: '\u2028\u0085' }]);
  t.equal((await all(file('b.ndjson', '{"a":1}\n\n{"a":2}\n')))[1]!.where.replace(/.*-/, ''), 'b.ndjson line 3', 'lines are counted, not rows');
  const cut = gzipSync(Array.from({ length: 3000 }, (_, i) => `{"a":${i * 7919}}`).join('\n'));
  await t.rejects(all(file('c.jsonl.gz', cut.subarray(0, cut.length - 2000))), { message: /cannot read .*c.jsonl.gz: unexpected end of file/, exitCode: 2 });
  await t.rejects(all(file('d.jsonl.gz', '{"a":1}')), { message: /cannot read .*: incorrect header check/, exitCode: 2 });
  await t.rejects(all(join(folder, 'none.jsonl')), { message: /cannot read .*ENOENT/, exitCode: 2 });
});

t.test('parquet: three codecs, groups of rows, 64-bit integers, lists of structures', async (t) => {
  const at = (name: string): string => fileURLToPath(new URL(`../../../test/data/parquet/${name}.parquet`, import.meta.url));
  t.same(await values(at('text.snappy')), [{ prompt: 'pé:', chosen: 'ab', rejected: 'd' }, { prompt: 'q:', chosen: 'c', rejected: 'ef' }]);
  const messages = await all(at('messages.zstd'));
  t.equal(messages.length, 3, 'a second group of rows');
  t.match(messages[2]!.where, /messages.zstd.parquet row 2$/);
  t.same(messages[2]!.value, { chosen: [{ role: 'user', content: 'hi' }, { role: 'assistant', content: 'yes' }], rejected: [{ role: 'user', content: 'hi' }, { role: 'assistant', content: 'no' }] });
  t.same((await all(at('ids.gzip')))[0]!.value['prompt_ids'], [1n, 7n]);
  await t.rejects(all(file('cut.parquet', readFileSync(at('text.snappy')).subarray(0, 200))), { message: /cannot read .* as parquet/, exitCode: 2 });
});

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

t.test('a file larger than what is held: memory stays small, and leaving early closes the file', async (t) => {
  const open = (): number => (process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0);
  const line = JSON.stringify({ prompt: 'p'.repeat(4000), chosen: 'c'.repeat(4000), rejected: 'r'.repeat(4000) });
  const body = `${line}\n`.repeat(8000);
  for (const [name, text] of [['big.jsonl', body], ['big.json', `[${body.trimEnd().replaceAll('\n', ',')}]`]] as const) {
    const path = file(name, text);
    // What is held, not what waits to be collected: that depends on how busy the machine is.
    const used = (): number => {
      collect();
      return process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers;
    };
    const before = used();
    let most = 0;
    let n = 0;
    for await (const row of rows(path)) if (n++ % 100 === 0 && row.value['prompt']) most = Math.max(most, used() - before);
    t.equal(n, 8000);
    t.ok(most < 10e6, `${Math.round(most / 1e6)} MB held of ${Math.round(text.length / 1e6)}`);
  }
  const zipped = file('z.jsonl.gz', gzipSync(`${line}\n`.repeat(200)));
  const handles = open();
  for (let i = 0; i < 20; i++) for await (const row of rows(zipped)) if (row.value) break;
  await new Promise((done) => setTimeout(done, 50));
  t.ok(open() <= handles + 1, `${open()} open files, ${handles} before`);
});
