"""How the page looks, light and dark, on a screen and on paper; and the script that shows what is pointed at.

Both are constants: the page's policy names them by their hashes, and so lets no other style or script do anything.
"""

STYLE = """
:root { color-scheme: light dark; --ground: #fff; --text: #1c2330; --faint: #5b6575; --line: #d9dee7; --card: #f5f7fa;
  --c0: #2f6fdb; --c1: #e07b00; --c2: #16926b; --c3: #c2374e;
  --c4: #7a56c9; --c5: #0d94b0; --c6: #b5497f; --c7: #8c7a1a;
  --other: #9aa3b2; --full: #8ccbb0; --part: #e9b949; --lost: #c2374e; --gone: #5b6575;
  --link: #1f5cc4; --bad: #b3283f; --hint: #8a5a00; --well: #0f7554; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ground: #12161d; --text: #e4e8ef; --faint: #a3adbd; --line: #2c3441; --card: #1a202a;
    --c0: #6ea2ff; --c1: #f5a34a; --c2: #47c79c; --c3: #f0738a; --c4: #ab8cf0; --c5: #4cc3dc;
    --c6: #e284b4; --c7: #cbb84d;
    --other: #6b7586; --full: #2f7a5b; --part: #c69a35; --lost: #f0738a; --gone: #8b95a5;
    --link: #7fb0ff; --bad: #ff8fa3; --hint: #f0bf62; --well: #5fd3ab; }
}
* { box-sizing: border-box; }
html { scroll-padding-top: 3rem; }
body { margin: 0 auto; padding: 1.5rem; max-width: 70rem; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { margin: 0; font-size: 1.6rem; } h2 { margin: 2.8rem 0 0; padding-top: .8rem; font-size: 1.3rem;
  border-top: 1px solid var(--line); } section:first-child h2 { margin-top: 0; border-top: 0; }
h3 { margin: 1.6rem 0 .3rem; font-size: 1rem; }
p { margin: .2rem 0 .6rem; } .about, .note, .none, footer { color: var(--faint); } .note { font-size: .85rem; }
.warn, .bad { color: var(--bad); } .hint { color: var(--hint); } .well { color: var(--well); }
.alerts { list-style: none; margin: 1rem 0; padding: 0; }
.alerts li { margin: .35rem 0; padding: .4rem .8rem; border-left: 4px solid; background: var(--card);
  font-weight: 500; } .alerts a { color: inherit; }
nav { position: sticky; top: 0; z-index: 5; margin: 1rem 0; padding: .5rem 0; display: flex; flex-wrap: wrap;
  gap: .2rem 1rem; background: var(--ground); border-bottom: 1px solid var(--line); font-size: .9rem; }
a { color: var(--link); text-decoration: none; } a:hover, a:focus-visible { text-decoration: underline; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(9.6rem, 1fr)); gap: .7rem; margin: 1.2rem 0;
  padding: 0; }
.tiles div { display: flex; flex-direction: column-reverse; justify-content: flex-end; background: var(--card);
  border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem; }
.tiles dd { margin: 0; font-size: 1.35rem; font-weight: 600; } .tiles dt { font-size: .85rem; }
.tiles dd.none { font-size: 1rem; font-weight: 400; line-height: 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; font-variant-numeric: tabular-nums; }
th { color: var(--faint); font-weight: 600; white-space: nowrap; vertical-align: bottom; }
th, td { padding: .24rem .55rem; border-bottom: 1px solid var(--line); unicode-bidi: isolate; }
td { position: relative; white-space: nowrap; vertical-align: top; }
td.long { white-space: normal; overflow-wrap: anywhere; min-width: 14rem; }
.t { text-align: left; } .n { text-align: right; white-space: nowrap; }
td span { position: relative; } tbody tr:hover { background: var(--card); }
.bar { position: absolute; inset: 2px 0; width: 100%; height: calc(100% - 4px); opacity: .2; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem 1.1rem; margin: .2rem 0; padding: 0;
  font-size: .85rem; }
.legend b { font-weight: 600; } .legend .per { margin-left: auto; color: var(--faint); }
.key { width: 10px; height: 10px; margin-right: .35rem; }
.plot { margin: .3rem 0; display: block; width: 100%; min-width: 50rem; height: auto; }
.plot text { fill: var(--faint); font-size: 11px; } .plot text.name { fill: var(--text); }
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
  @page { margin: 12mm; }
  html { font-size: 12px; } body { max-width: none; padding: 0; font-size: 11px; } nav, #tip { display: none; }
  * { print-color-adjust: exact; } h2, h3, .legend { break-after: avoid; } .plot, tr { break-inside: avoid; }
  .wide { overflow: visible; } .plot { min-width: 0; }
  th, td { padding: .15rem .3rem; font-size: 9px; } td, th { white-space: normal; overflow-wrap: anywhere; }
  td.long { min-width: 0; } a { color: inherit; }
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
