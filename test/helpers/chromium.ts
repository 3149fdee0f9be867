import { existsSync } from 'node:fs';
import puppeteer, { type Browser } from 'puppeteer-core';

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
  return puppeteer.launch({ executablePath: await carried.default.executablePath(), headless: 'shell', args: carried.default.args });
}
