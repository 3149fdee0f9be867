import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'puppeteer-core';
import type { Test } from 'tap';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** An expression in the page: a string, because these sources are compiled without the DOM's types. */
export const inPage = async <T>(page: Page, expression: string): Promise<T> => (await page.evaluate(expression)) as T;

export interface Seen { page: Page; errors: string[]; requests: string[] }
export async function open(b: Browser, path: string, o: { scheme: 'light' | 'dark'; width: number }): Promise<Seen> {
  const page = await b.newPage();
  const seen: Seen = { page, errors: [], requests: [] };
  page.on('console', (m) => seen.errors.push(`${m.type()}: ${m.text()}`));
  page.on('pageerror', (e) => seen.errors.push(String(e)));
  page.on('request', (r) => seen.requests.push(r.url()));
  await page.setViewport({ width: o.width, height: 900 });
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: o.scheme }]);
  await page.goto(pathToFileURL(path).href, { waitUntil: 'load' });
  return seen;
}

/** One look at the page (its picture goes to `shots`): silent, self-sufficient, no wider than the window, and axe finds nothing serious. */
export async function look(t: Test, browser: Browser, shots: string, path: string, name: string, o: { scheme: 'light' | 'dark'; width: number }): Promise<void> {
  const { page, errors, requests } = await open(browser, path, o);
  t.same(errors, [], `${name}: no word on the console`);
  t.same(requests, [pathToFileURL(path).href], `${name}: no request but the page itself`);
  t.ok((await inPage<number>(page, 'document.documentElement.scrollWidth')) <= o.width, `${name}: no sideways scrolling`);
  const shot = await page.screenshot({ path: join(shots, `${name}.png`), fullPage: true });
  t.ok(shot.length > 10_000, `${name}: a picture of ${shot.length} bytes`);
  // Everything folded is looked at too.
  await inPage(page, "document.querySelectorAll('details').forEach((d) => { d.open = true; })");
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const { violations } = await (globalThis as unknown as { axe: { run(): Promise<{ violations: Array<{ id: string; impact: string; nodes: Array<{ html: string }> }> }> } }).axe.run();
    return violations.map((v) => `${v.impact} ${v.id}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200)).join(' | ')}`);
  });
  t.same(found.filter((v) => /^(serious|critical)/.test(v)), [], `${name}: axe`);
  for (const v of found) t.comment(`${name}: ${v}`);
  await page.close();
}
