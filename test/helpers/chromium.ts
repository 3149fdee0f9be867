import { createReadStream, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createBrotliDecompress } from 'node:zlib';
import puppeteer, { type Browser } from 'puppeteer-core';
import { extract } from 'tar-fs';

/**
 * Headless Chromium: EDPO_CHROMIUM where it names one, else the one that @sparticuz/chromium carries (Linux on x64).
 * Undefined where there is none for this platform; a browser that is there and does not start is an error.
 */
export async function openChromium(): Promise<Browser | undefined> {
  const named = process.env['EDPO_CHROMIUM'];
  if (named) {
    if (!existsSync(named)) throw new Error(`EDPO_CHROMIUM names ${named}, which is not there`);
    return puppeteer.launch({ executablePath: named, headless: true, args: ['--no-sandbox'] });
  }
  if (process.platform !== 'linux' || process.arch !== 'x64') return undefined;
  const carried = await import('@sparticuz/chromium').catch(() => undefined);
  if (!carried) return undefined;
  const executablePath = await carried.default.executablePath();
  // The Vulkan driver that the tests run on may need libraries that Chromium does not have.
  const { VK_DRIVER_FILES: _, ...env } = process.env;
  const launch = (more: Record<string, string>): Promise<Browser> => puppeteer.launch({ executablePath, headless: 'shell', args: carried.default.args, env: { ...env, ...more } });
  try {
    return await launch({});
  } catch (error) {
    if (!/shared libraries/.test(String(error))) throw error;
    return launch({ LD_LIBRARY_PATH: [await carriedLibraries(), process.env['LD_LIBRARY_PATH']].filter(Boolean).join(':') });
  }
}

/** NSS and what else a small system may lack: the package carries them for Amazon Linux. */
async function carriedLibraries(): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), 'edpo-chromium-'));
  process.once('exit', () => rmSync(dir, { recursive: true, force: true }));
  const bin = createRequire(import.meta.url).resolve('@sparticuz/chromium').replace(/build[/\\].*$/, 'bin');
  await pipeline(createReadStream(join(bin, 'al2023.tar.br')), createBrotliDecompress(), extract(dir));
  return join(dir, 'lib');
}
