/**
 * Values on hover, touch and keyboard: read from the table below each plot, so that nothing is there twice. Without script the tables remain.
 * For print, the settings are unfolded; of the lists of pairs those that the reader has opened are printed.
 */
export const SCRIPT = `
(() => {
  const say = document.getElementById('say');
  const make = (name, attributes) => {
    const e = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
    return e;
  };
  const number = (text) => text === '\\u2013' ? NaN : Number(text.replaceAll('\\u202f', '').replaceAll('\\u2212', '-'));
  const axis = (text) => {
    const [from, to, begin, end] = text.split(' ').map(Number);
    return { at: (v) => begin + (v - from) / (to - from || 1) * (end - begin), of: (p) => from + (p - begin) / (end - begin) * (to - from), begin, end };
  };
  for (const plot of document.querySelectorAll('.plot')) {
    const [x, y] = [axis(plot.dataset.x), axis(plot.dataset.y)];
    const width = Number(plot.dataset.width);
    const svg = plot.querySelector('svg');
    const tip = plot.querySelector('.tip');
    let rows, heads, marks, rule, dots, at = -1;
    const read = () => {
      if (rows) return;
      const table = document.getElementById(plot.dataset.table);
      heads = [...table.tHead.rows[0].cells].map((c) => c.textContent);
      rows = [...table.tBodies[0].rows].map((r) => ({ x: Number(r.dataset.x), cells: [...r.cells].map((c) => c.textContent) }));
      marks = make('g', {});
      rule = make('line', { y1: y.begin, y2: y.end, stroke: 'var(--muted)' });
      dots = plot.dataset.colors.split(' ').map((c) => make('circle', { r: 4, fill: 'var(--c' + c + ')', stroke: 'var(--panel)', 'stroke-width': 1.5 }));
      marks.append(rule, ...dots);
      svg.append(marks);
    };
    const show = (i, aloud) => {
      if (i < 0 || i >= rows.length) return;
      at = i;
      const { x: value, cells } = rows[i];
      const px = x.at(value);
      rule.setAttribute('x1', px);
      rule.setAttribute('x2', px);
      dots.forEach((dot, k) => {
        const v = number(cells[k + 1]);
        dot.style.display = Number.isFinite(v) ? '' : 'none';
        dot.setAttribute('cx', px);
        dot.setAttribute('cy', Number.isFinite(v) ? y.at(v) : 0);
      });
      marks.style.display = '';
      const text = heads[0] + ' ' + cells[0] + '\\n' + cells.slice(1).map((v, k) => v === '\\u2013' ? '' : heads[k + 1] + ': ' + v).filter(Boolean).join('\\n');
      tip.textContent = text;
      tip.hidden = false;
      const share = px / width;
      tip.style.left = share < 0.5 ? 'calc(' + 100 * share + '% + 10px)' : 'auto';
      tip.style.right = share < 0.5 ? 'auto' : 'calc(' + 100 * (1 - share) + '% + 10px)';
      if (aloud) say.textContent = text.replaceAll('\\n', ', ');
    };
    const hide = () => { tip.hidden = true; if (marks) marks.style.display = 'none'; };
    const point = (e) => {
      read();
      const box = svg.getBoundingClientRect();
      const value = x.of((e.clientX - box.left) / box.width * width);
      let best = 0;
      for (let i = 1; i < rows.length; i++) if (Math.abs(rows[i].x - value) < Math.abs(rows[best].x - value)) best = i;
      show(best, false);
    };
    plot.addEventListener('pointerdown', point);
    plot.addEventListener('pointermove', point);
    plot.addEventListener('pointerleave', hide);
    plot.addEventListener('focus', () => { read(); if (plot.matches(':focus-visible')) show(at < 0 ? rows.length - 1 : at, true); });
    plot.addEventListener('blur', hide);
    plot.addEventListener('keydown', (e) => {
      read();
      const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: rows.length - 1, PageUp: Math.max(0, at - 10), PageDown: Math.min(rows.length - 1, at + 10) }[e.key];
      if (e.key === 'Escape') hide();
      if (to === undefined || e.altKey || e.ctrlKey || e.metaKey) return;
      e.preventDefault();
      show(to, true);
    });
  }
  let opened = [];
  addEventListener('beforeprint', () => {
    opened = [...document.querySelectorAll('#settings details:not([open])')];
    for (const d of opened) d.open = true;
  });
  addEventListener('afterprint', () => { for (const d of opened) d.open = false; });
})();
`.trim();
