import t from 'tap';
import { draw } from '../../src/report/draw_plot.js';
import { thin, type Plot } from '../../src/report/plots.js';

const plot = (over: Partial<Plot>): Plot => ({ id: 'p', title: 'P', xTitle: 'x', yTitle: '', kind: 'line', series: [], ...over });
/** Texts of the drawing: labels of the axes and their titles. */
const texts = (svg: string): string[] => [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map((m) => m[1]!);

t.test('a value that never changes has an axis that can be read, also after means over many steps', async (t) => {
  for (const value of [0.1, 0, -3e-7, 12345.678]) {
    for (const n of [1, 2, 1000]) {
      const { series } = thin([{ label: 'β', color: 0, dash: 0, points: Array.from({ length: n }, (_, i): [number, number] => [i, value]) }]);
      const drawn = await draw(plot({ series, domain: [0, n] }));
      const labels = texts(drawn.svg);
      t.ok(labels.length >= 4, `${value}, ${n} points: ${labels.join(' ')}`);
      t.ok(labels.every((l) => l.length <= 8) && new Set(labels).size === labels.length, labels.join(' '));
      t.ok(drawn.y.from < value && value < drawn.y.to, `${drawn.y.from} to ${drawn.y.to}`);
    }
  }
});

t.test('labels of a share are told apart, however small the shares', async (t) => {
  for (const most of [0.04, 0.3, 1]) {
    const points = Array.from({ length: 20 }, (_, i): [number, number] => [i, (most * (i % 5)) / 4]);
    const drawn = await draw(plot({ kind: 'steps', yFormat: '~%', series: [{ label: 'a', color: 0, dash: 0, bin: 1, points }] }));
    const shares = texts(drawn.svg).filter((l) => l.endsWith('%'));
    t.ok(shares.length >= 3 && new Set(shares).size === shares.length, shares.join(' '));
  }
});

t.test('a point lies where its axes say', async (t) => {
  const drawn = await draw(plot({ series: [{ label: 'a', color: 0, dash: 0, points: [[0, 0], [50, 1]] }], domain: [0, 100] }));
  // The one line of the drawing that has both points: from the origin to the middle of the width and the top of the axis.
  const path = /<path d="M([-\d.]+),([-\d.]+)L([-\d.]+),([-\d.]+)"[^>]*stroke="var\(--c0\)"/.exec(drawn.svg)!.slice(1).map(Number);
  const at = (a: typeof drawn.x, v: number): number => ((v - a.from) / (a.to - a.from)) * (a.end - a.begin);
  t.ok(Math.abs(path[2]! - path[0]! - at(drawn.x, 50)) < 0.01, `${path}`);
  t.ok(Math.abs(path[3]! - path[1]! - at(drawn.y, 1)) < 0.01, `${path}`);
});

t.test('all drawings are of one size, whatever their labels', async (t) => {
  const sizes = new Set<string>();
  for (const top of [1, 0.00012, -34_567]) {
    const { svg, x } = await draw(plot({ series: [{ label: 'a', color: 0, dash: 0, points: [[0, 0], [9, top]] }], domain: [0, 9] }));
    sizes.add(/viewBox="([^"]+)"/.exec(svg)![1]!);
    t.ok(x.end - x.begin > 250, `${x.end - x.begin} of the width are the plot’s`);
  }
  t.equal(sizes.size, 1, [...sizes].join(', '));
});
