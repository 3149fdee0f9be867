import { createRequire } from 'node:module';
import { createReadStream, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createBrotliDecompress } from 'node:zlib';
import { EdpoError } from '../errors.js';

/** What `unpackSwiftShader` leaves behind: a Vulkan driver, its ICD file and a loader. */
export interface EmbeddedVulkan {
  icd: string;
  loader: string;
}

/** RTLD_NOW | RTLD_NODELETE: the loader must outlive the failed attempt to read it as a Node module. */
const RTLD_NOW_NODELETE = 0x1002;

function cacheFolder(version: string): string {
  const base = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache');
  return join(base, 'edpo', `swiftshader-${version}`);
}

/**
 * Unpacks the SwiftShader that `@sparticuz/chromium` carries into the user's cache, once per version.
 * The package itself is never run: only its archive is read.
 * @returns undefined where the optional package is not installed or not for this platform.
 */
export async function unpackSwiftShader(): Promise<EmbeddedVulkan | undefined> {
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  const require = createRequire(import.meta.url);
  let root: string;
  try {
    // The package exports only its entry point, which lies one or more folders below its root.
    root = dirname(require.resolve('@sparticuz/chromium'));
    while (!existsSync(join(root, 'bin', 'swiftshader.tar.br'))) {
      const up = dirname(root);
      if (up === root) return undefined;
      root = up;
    }
  } catch {
    return undefined;
  }
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  const folder = cacheFolder(version);
  const found = { icd: join(folder, 'vk_swiftshader_icd.json'), loader: join(folder, 'libvulkan.so.1') };
  if (existsSync(found.icd) && existsSync(found.loader)) return found;
  const { extract } = await import('tar-fs');
  try {
    mkdirSync(dirname(folder), { recursive: true });
    const partial = mkdtempSync(`${folder}.partial-`);
    await pipeline(createReadStream(join(root, 'bin', 'swiftshader.tar.br')), createBrotliDecompress(), extract(partial));
    const icd = join(partial, 'vk_swiftshader_icd.json');
    const text = JSON.parse(readFileSync(icd, 'utf8')) as { ICD: { library_path: string } };
    text.ICD.library_path = './libvk_swiftshader.so';
    writeFileSync(icd, JSON.stringify(text));
    // Two processes may unpack at once; whoever renames second throws its copy away.
    try {
      renameSync(partial, folder);
    } catch (error) {
      rmSync(partial, { recursive: true, force: true });
      if (!existsSync(found.icd)) throw error;
    }
  } catch (cause) {
    throw new EdpoError(`the embedded software adapter could not be unpacked to ${folder}: ${String(cause)}`, {
      hint: 'set XDG_CACHE_HOME to a folder you can write to',
      cause,
    });
  }
  return found;
}

/**
 * Makes the embedded driver the one that the Vulkan loader of this process finds; the loader itself is
 * brought along where the system has none. Call before `create()`.
 */
export function useEmbeddedVulkan(embedded: EmbeddedVulkan): void {
  process.env['VK_DRIVER_FILES'] = embedded.icd;
  process.env['VK_LOADER_LAYERS_DISABLE'] = '~all~';
  try {
    process.dlopen({ exports: {} }, embedded.loader, RTLD_NOW_NODELETE);
  } catch {
    // Expected: a Vulkan loader is no Node module. What matters is that it is now in the process,
    // where Dawn finds it by its name if the system has none of its own.
  }
}
