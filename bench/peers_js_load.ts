import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { findAdapter } from '../src/gpu/adapters.js';
import type { Gpu, ToggleSet } from '../src/gpu/device.js';
import type { System } from './peers_js_case.js';
import { jaxSystem } from './peers_js_jax.js';
import { tfjsSystem } from './peers_js_tfjs.js';

/** Package, what it needs beside it, and how it is made a system. */
export const LIBRARIES = {
  'jax-js': { packages: ['@jax-js/jax'], make: jaxSystem },
  tfjs: { packages: ['@tensorflow/tfjs', '@tensorflow/tfjs-backend-webgpu'], make: tfjsSystem },
} as const;
export type LibraryName = keyof typeof LIBRARIES;

const FOLDER = fileURLToPath(new URL('../../bench/peers/js', import.meta.url));
/** Its scripts have nothing to do here. */
export const INSTALL = 'npm ci --ignore-scripts --prefix bench/peers/js';

/** The libraries find the adapter that edpo took, as a browser would show it. */
export function showAdapter(want: string, toggles: ToggleSet): void {
  const gpu = { requestAdapter: async () => (await findAdapter(want, toggles)).adapter };
  Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { gpu, userAgent: 'Node.js' } });
}

/** A system, or the name of the package that `folder/node_modules` lacks. */
export async function loadLibrary(gpu: Gpu, name: LibraryName, folder = FOLDER): Promise<System | string> {
  const { packages, make } = LIBRARIES[name];
  const versions: string[] = [];
  for (const at of packages) {
    const manifest = join(folder, 'node_modules', at, 'package.json');
    if (!existsSync(manifest)) return at;
    versions.push((JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version);
  }
  const require = createRequire(resolve(folder, 'package.json'));
  const [library] = packages.map((at) => require(at) as unknown);
  return make(gpu, library, versions[0]!);
}
