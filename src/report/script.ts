/** Values on hover, touch and keyboard: read from the table below each plot, so that nothing is there twice. Without script the tables remain. */
export const SCRIPT = `
(() => {
  const say = document.getElementById('say');
  for (const plot of document.querySelectorAll('.plot')) {
    const [from, to, left, right, width] = plot.dataset.x.split(' ').map(Number);
    const svg = plot.querySelector('svg');
    const tip = plot.querySelector('.tip');
    const table = document.getElementById(plot.dataset.table);
    let rows, heads, at = -1, rule;
    const read = () => {
      if (rows) return;
      heads = [...table.tHead.rows[0].cells].map((c) => c.textContent);
      rows = [...table.tBodies[0].rows].map((r) => [...r.cells].map((c) => c.textContent));
      for (const r of rows) r.x = Number(r[0].replace(/[\\u202f]/g, '').replace('\\u2212', '-'));
      rule = document.createElementNS('http://www.w3.org/2000/svg', 'line');
      rule.setAttribute('stroke', 'var(--muted)');
      rule.setAttribute('y1', 10);
      rule.setAttribute('y2', 177);
      svg.append(rule);
    };
    const show = (i, aloud) => {
      if (i < 0 || i >= rows.length) return;
      at = i;
      const r = rows[i];
      const x = left + ((r.x - from) / (to - from || 1)) * (right - left);
      rule.setAttribute('x1', x);
      rule.setAttribute('x2', x);
      rule.style.display = '';
      const text = heads[0] + ' ' + r[0] + '\\n' + r.slice(1).map((v, k) => v === '\\u2013' ? '' : heads[k + 1] + ': ' + v).filter(Boolean).join('\\n');
      tip.textContent = text;
      tip.hidden = false;
      const share = x / width;
      tip.style.left = share < 0.5 ? 'calc(' + 100 * share + '% + 10px)' : 'auto';
      tip.style.right = share < 0.5 ? 'auto' : 'calc(' + 100 * (1 - share) + '% + 10px)';
      if (aloud) say.textContent = text.replaceAll('\\n', ', ');
    };
    const hide = () => { tip.hidden = true; if (rule) rule.style.display = 'none'; };
    plot.addEventListener('pointermove', (e) => {
      read();
      const box = svg.getBoundingClientRect();
      const x = from + (((e.clientX - box.left) / box.width) * width - left) / (right - left) * (to - from);
      let best = 0;
      for (let i = 1; i < rows.length; i++) if (Math.abs(rows[i].x - x) < Math.abs(rows[best].x - x)) best = i;
      show(best, false);
    });
    plot.addEventListener('pointerleave', hide);
    plot.addEventListener('focus', () => { read(); show(at < 0 ? rows.length - 1 : at, false); });
    plot.addEventListener('blur', hide);
    plot.addEventListener('keydown', (e) => {
      read();
      const step = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: rows.length - 1, PageUp: Math.max(0, at - 10), PageDown: Math.min(rows.length - 1, at + 10) }[e.key];
      if (e.key === 'Escape') hide();
      if (step === undefined) return;
      e.preventDefault();
      show(step, true);
    });
  }
})();
`.trim();
