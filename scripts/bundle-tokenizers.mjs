// Bundles the tokenizers of @xenova/transformers (Apache-2.0, see NOTICE) into dist/vendor/tokenizers.js, without ONNX Runtime,
// sharp or its hub client: as a dependency the package cannot be installed without access to GitHub (its sharp downloads a binary).
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const out = fileURLToPath(new URL('../dist/vendor/tokenizers.js', import.meta.url));
mkdirSync(fileURLToPath(new URL('../dist/vendor/', import.meta.url)), { recursive: true });
const stubs = {
  './utils/hub.js': 'export async function getModelJSON() { throw new Error("edpo reads tokenizer files itself"); }',
  // Templates are rendered by edpo's own, newer dependency.
  '@huggingface/jinja': 'export class Template { constructor() { throw new Error("edpo renders chat templates itself"); } }',
  '../backends/onnx.js': 'export const ONNX = { Tensor: class {} }; export const executionProviders = [];',
};
await build({
  stdin: {
    contents: "export { PreTrainedTokenizer } from '@xenova/transformers/src/tokenizers.js';",
    resolveDir: fileURLToPath(new URL('..', import.meta.url)),
  },
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  outfile: out,
  legalComments: 'inline',
  logLevel: 'error',
  banner: { js: '/* Tokenizers of @xenova/transformers 2.17.2, Copyright the Hugging Face team, Apache License 2.0 (see NOTICE); bundled by edpo without their parts for ONNX, downloads and templates. */' },
  plugins: [{
    name: 'stubs',
    setup(b) {
      b.onResolve({ filter: /(utils\/hub|backends\/onnx)\.js$|^@huggingface\/jinja$/ }, ({ path }) => (path in stubs ? { path, namespace: 'stub' } : undefined));
      b.onLoad({ filter: /.*/, namespace: 'stub' }, ({ path }) => ({ contents: stubs[path], loader: 'js' }));
    },
  }],
});
