import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { forwardFolders, forwardShaders } from '../../src/gpu/forward_shaders.js';
import { headerDifferences, type CacheHeader } from '../../src/model/cache/header.js';

t.test('the digest of the forward kernels: their text counts, comments and other kernels do not', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'edpo-shaders-'));
  t.teardown(() => rmSync(dir, { recursive: true, force: true }));
  const own = forwardFolders();
  const folders = { shaders: join(dir, 'shaders'), ops: join(dir, 'ops') };
  for (const kind of ['shaders', 'ops'] as const) cpSync(own[kind], folders[kind], { recursive: true });
  const before = forwardShaders(folders);
  t.match(before, /^[0-9a-f]{12}$/);
  t.equal(before, forwardShaders(), 'edpo’s own where no folder is named');
  const change = (name: string, edit: (text: string) => string): string => {
    const path = join(dir, name.endsWith('.js') ? 'ops' : 'shaders', name);
    const text = readFileSync(path, 'utf8');
    writeFileSync(path, edit(text));
    const after = forwardShaders(folders);
    writeFileSync(path, text);
    return after;
  };
  const more = (text: string): string => `${text}const MORE = 1u;\n`;
  for (const name of ['rms_norm.fwd.wgsl', 'lib/rows.wgsl', 'matmul.matrix.wgsl', 'matmul.tiled.wgsl', 'attention.matrix_fwd.wgsl', 'head_stats.fwd.wgsl', 'rope.wgsl', 'pack_f16.wgsl']) t.not(change(name, more), before, name);
  for (const name of ['rms_norm.bwd.wgsl', 'attention.matrix_dq.wgsl', 'attention.tiled_dkv.wgsl', 'adamw.wgsl', 'grad_norm.partial.wgsl', 'lib/product_sum.wgsl', 'lib/blocks_8bit.wgsl', 'lib/blocks_8bit_table.wgsl', 'bench/mac_matrix.wgsl']) t.equal(change(name, more), before, name);
  for (const name of ['matmul_matrix.js', 'matmul_loads.js', 'rms_norm.js', 'head_kernels.js']) t.not(change(name, (text) => `${text}const more = 1;\n`), before, `${name}, which writes a part of a shader`);
  for (const name of ['adamw.js', 'grad_norm.js', 'document_loss.js', 'product_sum.js']) t.equal(change(name, (text) => `${text}const more = 1;\n`), before, name);
  t.equal(change('matmul_matrix.js', (text) => `/** A remark\n * of two lines. */\n// And one.\n${text}`), before, 'comments of a module');
  t.equal(change('rms_norm.fwd.wgsl', (text) => `// a remark\n\n${text}`), before, 'comments and blank lines');
  t.not(change('rms_norm.fwd.wgsl', (text) => text.replace(/^\/\/ #use .*$/m, '')), before, 'what is included counts');
  t.end();
});

t.test('a cache of other kernels differs in `kernels` alone, one of before they were recorded too', (t) => {
  const header = (kernels: object): CacheHeader => ({ kernels }) as CacheHeader;
  t.same(headerDifferences(header({ shaders: 'a' }), header({ shaders: 'b' })), { fields: [], kernels: ['shaders'] });
  t.same(headerDifferences(header({}), header({ shaders: 'b' })), { fields: [], kernels: ['shaders'] });
  t.end();
});
