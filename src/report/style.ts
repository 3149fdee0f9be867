/** The page's look: light, dark, print, and narrow screens. Colours are told apart by people with the usual colour deficiencies (after Okabe and Ito), and lines by their dashes too. */
export const STYLE = `
:root{color-scheme:light dark;--bg:#fff;--ink:#1b1f24;--muted:#57606a;--line:#b8c0c8;--grid:#e7eaee;--panel:#f6f8fa;--accent:#0a58a8;--note:#fff6df;
--c0:#0067b0;--c1:#b84500;--c2:#007a5a;--c3:#9c3587;--c4:#806000;--c5:#0f7f96;--c6:#6a4fc0;--c7:#555b62}
@media (prefers-color-scheme:dark){:root{--bg:#12161b;--ink:#e4e8ec;--muted:#a3adb8;--line:#56606b;--grid:#272e36;--panel:#1a2027;--accent:#74b4f2;--note:#352c13;
--c0:#62b0f0;--c1:#f0965a;--c2:#4ec9a2;--c3:#dd8acb;--c4:#d9b84c;--c5:#5fcbe0;--c6:#ab98f2;--c7:#b4bcc4}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1480px;padding:1rem clamp(.8rem,3vw,2.2rem) 3rem;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1{font-size:1.6rem;margin:.4rem 0 .2rem;overflow-wrap:anywhere}h2{font-size:1.2rem;margin:2.2rem 0 .3rem;padding-top:.6rem;border-top:1px solid var(--grid)}h3{font-size:1rem;margin:0 0 .2rem}
p{margin:.3rem 0 .8rem;max-width:80ch}a{color:var(--accent)}
.skip{position:absolute;left:-9999px}.skip:focus{left:1rem;top:.5rem;background:var(--bg);padding:.3rem .6rem;z-index:3}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;padding:0;margin:.6rem 0 0;list-style:none}
.note{background:var(--note);padding:.5rem .8rem;border-radius:6px;margin:.8rem 0}.note ul{margin:0;padding-left:1.1rem}
.about,.small{color:var(--muted)}.small{font-size:.86rem;margin:.3rem 0}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,370px),1fr));gap:1rem}
figure{margin:0;padding:.8rem .9rem .6rem;background:var(--panel);border-radius:8px;min-width:0}
.plot{position:relative;border-radius:4px}.plot svg{display:block;width:100%;height:auto;overflow:visible}.plot text{font-family:inherit}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
.legend{display:flex;flex-wrap:wrap;gap:.1rem .9rem;list-style:none;padding:0;margin:.2rem 0;font-size:.84rem}.legend svg{vertical-align:middle;margin-right:.35rem}.legend li{overflow-wrap:anywhere}
.tip{position:absolute;top:0;pointer-events:none;background:var(--bg);border:1px solid var(--line);border-radius:6px;padding:.25rem .5rem;font-size:.8rem;line-height:1.35;max-width:min(80%,20rem);z-index:2;white-space:pre-line}
.tip[hidden]{display:none}
details{margin:.3rem 0}summary{cursor:pointer;color:var(--accent);font-size:.88rem;width:fit-content}
.scroll{overflow:auto;margin:.4rem 0}details .scroll{max-height:24rem}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}caption{text-align:left;color:var(--muted);padding:.2rem 0}
th,td{padding:.22rem .9rem .22rem 0;text-align:right;vertical-align:top;border-bottom:1px solid var(--grid);white-space:nowrap}th:first-child,td:first-child{text-align:left;white-space:normal}thead th{border-bottom-color:var(--line)}th{font-weight:600}
.wide td{white-space:normal;overflow-wrap:anywhere;text-align:left;min-width:12ch}
.pair{margin:.5rem 0;padding:.6rem .8rem;background:var(--panel);border-radius:8px}.pair>p{margin:.1rem 0 .3rem}
.sides{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,18rem),1fr));gap:.6rem}.text{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.9rem;max-height:16rem;overflow:auto;margin:.1rem 0 0;padding:.4rem .55rem;background:var(--bg);border-radius:5px}
.sides h4,.pair h4{margin:.2rem 0 0;font-size:.8rem;font-weight:600;color:var(--muted)}
pre{overflow:auto;background:var(--panel);padding:.7rem;border-radius:8px;font-size:.82rem;max-height:32rem}
@media print{:root{color-scheme:light;--bg:#fff;--ink:#000;--muted:#444;--line:#999;--grid:#ddd;--panel:#fff;--note:#fff;--accent:#000;--c0:#0067b0;--c1:#b84500;--c2:#007a5a;--c3:#9c3587;--c4:#806000;--c5:#0f7f96;--c6:#6a4fc0;--c7:#555b62}
body{font-size:10pt;max-width:none;padding:0}nav,.skip,figure details,.hint{display:none}.plots{grid-template-columns:1fr 1fr}figure,.pair,tr{break-inside:avoid}h2,h3{break-after:avoid}.scroll,.text,pre{max-height:none;overflow:visible}.note{border:1px solid #999}}
`.trim();
