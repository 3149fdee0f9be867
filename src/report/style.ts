const LIGHT = '--bg:#fff;--ink:#1b1f24;--muted:#57606a;--line:#b8c0c8;--grid:#e4e8ec;--panel:#f6f8fa;--accent:#0a58a8;--note:#fff6df;--c0:#0067b0;--c1:#b84500;--c2:#007a5a;--c3:#9c3587;--c4:#806000;--c5:#0f7f96;--c6:#6a4fc0;--c7:#555b62';
const DARK = '--bg:#12161b;--ink:#e4e8ec;--muted:#a3adb8;--line:#56606b;--grid:#2a3139;--panel:#1a2027;--accent:#74b4f2;--note:#352c13;--c0:#62b0f0;--c1:#f0965a;--c2:#4ec9a2;--c3:#dd8acb;--c4:#d9b84c;--c5:#5fcbe0;--c6:#ab98f2;--c7:#b4bcc4';

/** The light colours by name, for figures that stand alone. */
export const LIGHT_COLORS: Record<string, string> = Object.fromEntries(LIGHT.slice(2).split(';--').map((c) => c.split(':') as [string, string]));

/** The page's look: light, dark, print, and narrow screens. Colours are told apart by people with the usual colour deficiencies (after Okabe and Ito), and lines by their dashes too. */
export const STYLE = `
:root{color-scheme:light dark;${LIGHT}}
@media (prefers-color-scheme:dark){:root{${DARK}}}
*{box-sizing:border-box}
html{scroll-behavior:smooth}
@media (prefers-reduced-motion:reduce){html{scroll-behavior:auto}}
body{margin:0 auto;max-width:1360px;padding:1.4rem clamp(.9rem,3vw,2.4rem) 3rem;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .3rem;overflow-wrap:anywhere}.vs{color:var(--muted);font-weight:400}h2{font-size:1.25rem;margin:0 0 .2rem}h3{font-size:1rem;margin:1rem 0 .2rem}
section{margin-top:2rem;padding-top:1.4rem;border-top:1px solid var(--grid);scroll-margin-top:.5rem}
p{margin:.2rem 0 .8rem;max-width:85ch}a{color:var(--accent)}
.brand{margin:0;color:var(--muted);font-size:.8rem;letter-spacing:.06em;text-transform:uppercase}
.skip{position:absolute;left:-9999px}.skip:focus{left:1rem;top:.5rem;background:var(--bg);padding:.3rem .6rem;z-index:3}
.hidden{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);white-space:nowrap}
nav ul{display:flex;flex-wrap:wrap;gap:.3rem 1.2rem;padding:0;margin:.8rem 0 0;list-style:none;font-size:.93rem}
.note{background:var(--note);padding:.6rem .9rem;border-radius:8px;margin:1.2rem 0}.note ul{margin:0;padding-left:1.1rem}.note li{overflow-wrap:anywhere}
.about,.small,.unit,.span,dt{color:var(--muted)}.about{overflow-wrap:anywhere}.small{font-size:.86rem;margin:.3rem 0}header .about{margin:0}
dl{margin:.8rem 0 0}dt{font-size:.86rem}dd{margin:0;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,150px),1fr));gap:.8rem}.tiles div{max-width:22rem;background:var(--panel);border-radius:10px;padding:.7rem .9rem;display:flex;flex-direction:column}.tiles dd{font-size:1.35rem;line-height:1.3;font-weight:600;margin-top:auto}dd small{font-size:.82rem;font-weight:400;color:var(--muted);white-space:nowrap}
.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,155px),1fr));gap:.6rem 1.2rem}.facts div{border-top:1px solid var(--grid);padding-top:.3rem}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,350px),1fr));gap:1rem}
figure{margin:0;padding:.9rem 1rem .6rem;background:var(--panel);border-radius:10px;min-width:0}figure h3{margin:0 0 .3rem}.unit{font-weight:400;font-size:.86rem}
.plot{position:relative;border-radius:4px}.plot svg{display:block;width:100%;height:auto;overflow:visible}.plot text{font-family:inherit}
:focus-visible{outline:2px solid var(--accent);outline-offset:2px}main:focus{outline:none}
.legend{display:flex;flex-wrap:wrap;gap:.1rem .9rem;list-style:none;padding:0;margin:.2rem 0;font-size:.84rem}.legend svg{vertical-align:middle;margin-right:.35rem}.legend li{overflow-wrap:anywhere}
figcaption p{margin:.2rem 0}
.tip{position:absolute;top:0;pointer-events:none;background:var(--bg);border:1px solid var(--line);border-radius:6px;padding:.25rem .5rem;font-size:.8rem;line-height:1.35;width:max-content;max-width:min(75%,18rem);z-index:2;white-space:pre-line;overflow-wrap:anywhere;font-variant-numeric:tabular-nums}
.tip[hidden]{display:none}
details{margin:.3rem 0}summary{cursor:pointer;color:var(--accent);font-size:.88rem;width:fit-content}
.list{margin:.5rem 0;background:var(--panel);border-radius:10px;padding:.1rem .9rem}.list summary{font-size:1rem;width:auto;padding:.5rem 0}.list .name{font-weight:600}.span{font-size:.88rem;margin-left:.4rem}
.pair{margin:.6rem 0;padding:.7rem .9rem;background:var(--bg);border-radius:8px}.pair>p{margin:0 0 .3rem;font-variant-numeric:tabular-nums}
.sides{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,18rem),1fr));gap:.6rem}
.text{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.92rem;max-height:16rem;overflow:auto;margin:.1rem 0 .3rem;padding:.3rem .6rem;border-left:3px solid var(--grid)}.chosen .text{border-left-color:var(--c2)}.rejected .text{border-left-color:var(--c1)}
.side{margin:.2rem 0 0;font-size:.8rem;font-weight:600;color:var(--muted)}
.scroll{overflow:auto;margin:.4rem 0 1rem}figure .scroll{max-height:24rem}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}caption{text-align:left;white-space:nowrap;color:var(--muted);padding:.2rem 0}
th,td{padding:.3rem 1.2rem .3rem 0;text-align:right;vertical-align:top;border-bottom:1px solid var(--grid);white-space:nowrap}th:first-child,td:first-child{text-align:left;white-space:normal}thead th{border-bottom-color:var(--line)}th{font-weight:600}tbody th{font-weight:400;color:var(--muted)}
#glance td{white-space:normal;overflow-wrap:break-word;min-width:10ch;max-width:32ch}
.words td,.words thead th{white-space:normal;overflow-wrap:anywhere;text-align:left;max-width:44ch}.words td{min-width:11ch}
pre{overflow:auto;background:var(--panel);padding:.8rem;border-radius:8px;font-size:.82rem;max-height:32rem}
footer{margin-top:2rem}
@media print{:root{color-scheme:light;${LIGHT};--panel:#fff;--note:#fff;--ink:#000;--accent:#000}
@page{margin:14mm}body{font-size:9.5pt;max-width:none;padding:0}nav,.skip,footer,figure details{display:none}.plots{grid-template-columns:1fr 1fr;gap:.6rem}figure,.pair,.tiles div{border:1px solid #ccc}figure,.pair,tr,.tiles div{break-inside:avoid}h2,h3,summary{break-after:avoid}section{margin-top:1rem;padding-top:.6rem}.scroll,.text,pre{max-height:none;overflow:visible}pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:7pt}.note{border:1px solid #999}table{font-size:8.5pt}th,td{padding-right:.7rem}thead th{white-space:normal;vertical-align:bottom}}
`.trim();
