import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { openChromium } from '../helpers/chromium.js';
import { edpo, tinyFolder, tinyPairs } from '../helpers/cli.js';
import { inPage, look, open } from '../helpers/look.js';

const dir = mkdtempSync(join(tmpdir(), 'edpo-page-'));
// Screenshots stay for a person where EDPO_SCREENSHOTS names a folder.
const shots = process.env['EDPO_SCREENSHOTS'] ?? dir;
const browser = await openChromium();
t.teardown(async () => {
  await browser?.close();
  rmSync(dir, { recursive: true, force: true });
});
const skip = browser ? {} : { skip: 'no Chromium for this platform; EDPO_CHROMIUM names one' };

const model = await tinyFolder(join(dir, 'model'));
const data = tinyPairs(join(dir, 'train.jsonl'), 96);
const evalData = tinyPairs(join(dir, 'eval.jsonl'), 24, 7);
const train = (out: string, loss: string): void => {
  const r = edpo(['train', '--model_name_or_path', model, '--data_files', data, '--eval_data_files', evalData, '--loss_type', loss, '--beta', '0.1', '--total_batch_size', '8', '--num_train_epochs', '2', '--learning_rate', '3e-3', '--token_budget', '128',
    '--logging_steps', '2', '--eval_strategy', 'steps', '--eval_steps', '0.25', '--save_steps', '12', '--output_dir', out]);
  if (r.code !== 0) throw new Error(r.err);
};

t.test('the report of a real run', skip, async (t) => {
  const run = join(dir, 'epsilon');
  train(run, 'epsilon_dpo');
  const r = edpo(['report', run]);
  t.equal(r.code, 0, r.err);
  const path = join(run, 'report.html');
  await look(t, browser!, shots, path, 'report-light', { scheme: 'light', width: 1280 });
  await look(t, browser!, shots, path, 'report-dark', { scheme: 'dark', width: 1280 });
  await look(t, browser!, shots, path, 'report-narrow', { scheme: 'light', width: 360 });

  const { page, errors } = await open(browser!, path, { scheme: 'light', width: 1280 });
  const plots = await page.$$eval('.plot', (all) => all.map((p) => p.getAttribute('data-table')!.slice(2)));
  for (const id of ['loss', 'accuracy', 'reward-margins', 'beta-path', 'shares', 'margins', 'kl-chosen', 'kl-rejected', 'lengths', 'throughput', 'memory']) t.ok(plots.includes(id), `a plot of ${id}`);
  const headings = await page.$$eval('h2', (all) => all.map((h) => h.textContent));
  for (const h of ['At a glance', 'Pairs worth reading', 'Evaluations', 'Configuration and manifest']) t.ok(headings.includes(h), h);
  // Texts of named pairs come from the data.
  const text = await page.$eval('.pair .text', (e) => e.textContent);
  t.ok(readFileSync(data, 'utf8').split('\n').filter(Boolean).some((l) => (JSON.parse(l) as { prompt: string }).prompt === text), `a prompt of the data: ${text}`);

  // The plot's values by keyboard, said aloud, are the log's.
  const log = readFileSync(join(run, 'trainer_log.jsonl'), 'utf8').trim().split('\n').map((l) => JSON.parse(l) as Record<string, number>);
  const first = log.find((l) => l['step'] === 2 && 'loss' in l)!;
  await page.focus('.plot[data-table="t-loss"]');
  await page.keyboard.press('Home');
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowRight');
  t.equal(await page.$eval('#say', (e) => e.textContent), `optimiser step 2, training: ${Number(first['loss']!.toPrecision(4))}`);
  t.equal(await inPage<boolean>(page, 'document.querySelector("#f-loss .tip").hidden'), false);
  t.ok(await inPage<number>(page, '[...document.querySelectorAll("#f-loss circle")].filter((c) => c.style.display !== "none").length') >= 1, 'a dot on the line');
  await page.keyboard.press('Escape');
  t.equal(await inPage<boolean>(page, 'document.querySelector("#f-loss .tip").hidden'), true);
  // And by pointer: over the right edge of the plot, the last step.
  const box = (await (await page.$('.plot[data-table="t-loss"] svg'))!.boundingBox())!;
  await page.mouse.move(box.x + box.width - 12, box.y + box.height / 2);
  t.match(await page.$eval('.plot[data-table="t-loss"] .tip', (e) => e.textContent), /^optimiser step 24\n/);
  t.same(errors, []);
  await page.close();
});

t.test('two runs overlaid, with what differs and win rates beside them', skip, async (t) => {
  const other = join(dir, 'dpo');
  train(other, 'sigmoid');
  const wins = join(dir, 'wins');
  const judge = join(dir, 'judge.mjs');
  writeFileSync(judge, 'import { createInterface } from "node:readline"; for await (const l of createInterface({ input: process.stdin })) { const { id, a, b } = JSON.parse(l); console.log(JSON.stringify({ id, winner: a < b ? "a" : a > b ? "b" : "tie" })); }');
  const judged = (run: string, out: string): void => {
    const won = edpo(['eval-winrate', '--model_name_or_path', run, '--ref_model_name_or_path', model, '--dataset_name', evalData, '--judge', `command:${process.execPath} ${judge}`, '--max_new_tokens', '4', '--output_dir', out]);
    t.equal(won.code, 0, won.err);
  };
  judged(other, wins);
  judged(join(dir, 'epsilon'), join(dir, 'wins-epsilon'));
  const path = join(dir, 'two.html');
  const r = edpo(['report', join(dir, 'epsilon'), other, wins, '--output', path]);
  t.equal(r.code, 0, r.err);
  await look(t, browser!, shots, path, 'report-two-light', { scheme: 'light', width: 1280 });
  await look(t, browser!, shots, path, 'report-two-dark', { scheme: 'dark', width: 1280 });
  const { page } = await open(browser!, path, { scheme: 'light', width: 1280 });
  t.same(await page.$$eval('#f-loss .legend li', (all) => all.map((l) => l.textContent)), ['epsilon: training', 'epsilon: evaluation', 'dpo: training', 'dpo: evaluation']);
  const rows = await page.$$eval('#differences tbody tr', (all) => all.map((tr) => [...tr.cells].map((c) => c.textContent)));
  t.ok(rows.some((row) => row[0] === 'loss_type' && row[1] === 'epsilon_dpo' && row[2] === 'sigmoid'), JSON.stringify(rows));
  t.match(await page.$eval('#winrates', (e) => e.textContent), /wins.*%/s);
  t.same(await page.$$eval('#winrates > .words thead th', (all) => all.map((th) => th.textContent)), ['measure', 'wins-epsilon', 'wins'], 'named and found beside its run, it stands there once');
  // Fig. 5: a point a run, said by its name.
  const point = JSON.parse(readFileSync(join(wins, 'winrate.json'), 'utf8')) as { kl: number; win_rate: number };
  const figures = await page.$$eval('#t-frontier tbody tr', (all) => all.map((tr) => [...tr.cells].map((c) => c.textContent)));
  t.same(figures.length, 2);
  t.ok(figures.some(([kl, edpo, dpo]) => kl === `${Number(point.kl.toPrecision(4))} (dpo, β 0.1)` && edpo === '–' && dpo === String(Number(point.win_rate.toPrecision(4)))), JSON.stringify(figures));
  await page.focus('.plot[data-table="t-frontier"]');
  await page.keyboard.press('Home');
  t.match(await page.$eval('#say', (e) => e.textContent), /^KL\(π‖ρ\) on its own answers, nats [\d.]+ \((epsilon|dpo), β 0\.1\)/);
  // Printed, the settings are open and a pair's texts are not, until the reader opens them; nothing is wider than the paper.
  await page.setViewport({ width: 700, height: 900 });
  await page.emulateMediaType('print');
  await inPage(page, "dispatchEvent(new Event('beforeprint'))");
  t.equal(await inPage<boolean>(page, "[...document.querySelectorAll('#settings details')].every((d) => d.open) && ![...document.querySelectorAll('.list')].some((d) => d.open)"), true);
  t.ok((await inPage<number>(page, "Math.max(...[...document.querySelectorAll('table')].map((x) => x.getBoundingClientRect().right))")) <= 700, 'tables fit');
  await page.close();
  // Found by the weights it measured: with the run it belongs to, not with its neighbour.
  for (const [run, found] of [[other, 'wins'], [join(dir, 'epsilon'), 'wins-epsilon']] as const) {
    t.equal(edpo(['report', run]).code, 0);
    t.same([...readFileSync(join(run, 'report.html'), 'utf8').matchAll(/<th scope="col">(wins[^<]*)</g)].map((m) => m[1]), [found], run);
  }
});
