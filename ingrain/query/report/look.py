"""How the page looks, light and dark, on a screen and on paper; and the script that shows what is pointed at.

Both are constants: the page's policy names them by their hashes, and so lets no other style or script do anything.
"""

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1c2330; --faint: #667085; --line: #d9dee7; --card: #f5f7fa;
  --c0: #2f6fdb; --c1: #e07b00; --c2: #16926b; --c3: #c2374e;
  --c4: #7a56c9; --c5: #0d94b0; --c6: #b5497f; --c7: #8c7a1a;
  --other: #9aa3b2; --full: #7cc4a4; --part: #e9c46a; --lost: #c2374e; --gone: #e3e7ee; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #12161d; --text: #e4e8ef; --faint: #98a2b3; --line: #2c3441; --card: #1a202a;
    --c0: #6ea2ff; --c1: #f5a34a; --c2: #47c79c; --c3: #f0738a; --c4: #ab8cf0; --c5: #4cc3dc;
    --c6: #e284b4; --c7: #cbb84d;
    --other: #6b7586; --full: #2f7a5b; --part: #a9832b; --lost: #f0738a; --gone: #262d39; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 66rem; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; } h2 { margin: 2.6rem 0 0; font-size: 1.25rem; }
h3 { margin: 1.4rem 0 .3rem; font-size: 1rem; }
p { margin: .2rem 0 .6rem; } .about, .note, .none, footer { color: var(--faint); } .note { font-size: .85rem; }
.warn { color: var(--lost); }
nav { margin: 1rem 0; display: flex; flex-wrap: wrap; gap: .2rem 1rem; } a { color: var(--c0); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .7rem; margin: 1.2rem 0;
  padding: 0; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem; }
.tiles dd { margin: 0; font-size: 1.35rem; font-weight: 600; } .tiles dt { color: var(--faint); font-size: .85rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; font-variant-numeric: tabular-nums; }
th { color: var(--faint); font-weight: 500; white-space: nowrap; }
th, td { padding: .22rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; unicode-bidi: isolate; }
td { white-space: nowrap; } td.long { white-space: normal; overflow-wrap: anywhere; min-width: 14rem; }
.t { text-align: left; } .n { text-align: right; white-space: nowrap; }
td { position: relative; } td span { position: relative; } tbody tr:hover { background: var(--card); }
.bar { position: absolute; inset: 2px 0; width: 100%; height: calc(100% - 4px); opacity: .22; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; margin: .2rem 0; padding: 0;
  font-size: .85rem; }
.legend b { font-weight: 600; } .key { width: 10px; height: 10px; margin-right: .35rem; }
.plot { margin: .3rem 0 .8rem; display: block; width: 100%; height: auto; }
.plot text { fill: var(--faint); font-size: 11px; }
text.at { text-anchor: middle; } .of { text-anchor: end; } .from { text-anchor: start; } .grid { stroke: var(--line); }
.area { fill: transparent; } .tip:hover .area { fill: var(--line); opacity: .6; }
.ribbon { opacity: .45; } .tip:hover .ribbon { opacity: .8; }
.c0 { fill: var(--c0); } .c1 { fill: var(--c1); } .c2 { fill: var(--c2); } .c3 { fill: var(--c3); }
.c4 { fill: var(--c4); } .c5 { fill: var(--c5); } .c6 { fill: var(--c6); } .c7 { fill: var(--c7); }
.other { fill: var(--other); } .full { fill: var(--full); } .part { fill: var(--part); } .lost { fill: var(--lost); }
.gone { fill: var(--gone); }
#tip { position: fixed; z-index: 9; pointer-events: none; white-space: pre-wrap; max-width: 32rem; padding: .4rem .6rem;
  border-radius: .4rem; background: var(--text); color: var(--ground); font-size: .8rem; box-shadow: 0 2px 8px #0006;
  overflow-wrap: anywhere; }
#tip[hidden] { display: none; }
footer { margin-top: 3rem; font-size: .85rem; }
@media print {
  body { max-width: none; padding: 0; font-size: 11px; } nav, #tip { display: none; }
  * { print-color-adjust: exact; } h2, h3 { break-after: avoid; } .plot, tr { break-inside: avoid; }
}
"""

SCRIPT = """
"use strict";
const tip = document.getElementById("tip");
document.addEventListener("pointermove", (event) => {
  const on = event.target.closest(".tip");
  tip.hidden = !on;
  if (!on) return;
  const title = on.querySelector("title");
  if (title) { on.dataset.told = title.textContent; title.remove(); }  // else the browser shows it, too
  tip.textContent = on.dataset.told;
  const box = tip.getBoundingClientRect();
  tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 4)) + "px";
  tip.style.top = (event.clientY + 18 + box.height < innerHeight ? event.clientY + 18
    : Math.max(4, event.clientY - box.height - 10)) + "px";
});
document.documentElement.addEventListener("pointerleave", () => { tip.hidden = true; });
"""
