"""The style of the page: light and dark, a pattern with each colour, cards on a phone, and on paper."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --ink: #1b1f24; --faint: #57606a; --line: #d0d7de; --panel: #f6f8fa; --link: #0550ae;
  --ok: #d8f0df; --ok-ink: #0b3d1a; --ok-mark: #2e8b4d;
  --warning: #ffe08a; --warning-ink: #3d2b00; --warning-mark: #c98a00;
  --critical: #a40e26; --critical-ink: #ffffff; --critical-mark: #a40e26;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #0d1117; --ink: #e6edf3; --faint: #9aa5b1; --line: #30363d; --panel: #161b22; --link: #79b8ff;
    --ok: #12351f; --ok-ink: #b6f0c6; --ok-mark: #3fb950;
    --warning: #6b4d00; --warning-ink: #fff1c2; --warning-mark: #e3b341;
    --critical: #b8283a; --critical-ink: #ffffff; --critical-mark: #ff7b85;
  }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 0 1rem 2rem; max-width: 100rem; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.35rem; line-height: 1.3; margin: 1rem 0 .3rem; padding: .6rem .8rem; border-radius: 6px;
  overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 1.4rem 0 .5rem; }
h3 { font-size: .95rem; margin: 1rem 0 .3rem; }
#made { margin: 0 .8rem; color: var(--faint); }
#stale { margin: .6rem 0; padding: .6rem .8rem; font-weight: 600; background: var(--ink); color: var(--paper);
  border-radius: 6px; }
body.stale main { filter: grayscale(1); }
body.stale h1 { filter: grayscale(1); }
.ok, body.ok h1 { background-color: var(--ok); color: var(--ok-ink); }
.warning, body.warning h1 { background-color: var(--warning); color: var(--warning-ink); }
.critical, body.critical h1 { background-color: var(--critical); color: var(--critical-ink); }
body.ok, body.warning, body.critical { background-color: var(--paper); color: var(--ink); }
.sign { display: inline-block; min-width: 1.2em; font-weight: 700; }
form { display: flex; flex-wrap: wrap; gap: .6rem 1rem; align-items: end; margin-top: 1rem; padding: .6rem .8rem;
  background: var(--panel); border: 1px solid var(--line); border-radius: 6px; }
label { display: flex; flex-direction: column; font-size: .8rem; color: var(--faint); gap: .15rem; }
input, select, button { font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--faint);
  border-radius: 4px; padding: .25rem .5rem; min-height: 2rem; }
label input, label select { color: var(--ink); font-size: .95rem; }
button { cursor: pointer; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
output { align-self: center; }
details { margin: .35rem 0; border: 1px solid var(--line); border-radius: 6px; }
details.ok, details.warning, details.critical { background: none; color: inherit; }
details.critical { border-left: 8px solid var(--critical-mark); }
details.warning { border-left: 8px double var(--warning-mark); }
summary { cursor: pointer; padding: .45rem .7rem; overflow-wrap: anywhere; }
summary h2 { display: inline; }
#hostlist details { border: 0; }
#hostlist summary { padding-left: 0; }
ul { list-style: none; margin: 0; padding: 0; }
.rows { padding: 0 .5rem .5rem; }
.row { width: 100%; text-align: left; border: 0; border-top: 1px solid var(--line); border-radius: 0;
  overflow-wrap: anywhere; }
.why { color: var(--faint); }
.badge { display: inline-block; padding: 0 .45em; border-radius: 4px; font-size: .85em; font-weight: 600; }
.wide { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; }
caption { text-align: left; color: var(--faint); font-size: .85rem; padding: .2rem 0; }
th { font-weight: 600; text-align: left; padding: .2rem .6rem .2rem 0; white-space: nowrap; }
td { padding: 1px; }
.sites th[scope=col] { text-align: center; padding: .2rem; }
.cell { display: block; border: 0; border-radius: 4px; width: 100%; min-height: 2.4rem; padding: .3rem .6rem;
  white-space: nowrap; font-variant-numeric: tabular-nums; }
.sites .cell { min-width: 7.5rem; }
.cell.ok { background-color: var(--ok); }
.sites .cell.warning { background-color: var(--warning); border-bottom: 5px double var(--warning-ink); }
.sites .cell.critical { background-color: var(--critical); border: 2px solid var(--ink); font-weight: 700; }
.hosts th[scope=col] { vertical-align: bottom; padding: 0 0 .3rem; }
.hosts th[scope=col] span { writing-mode: vertical-rl; transform: rotate(180deg); font-size: .8rem; }
.hosts th[scope=row] { font-size: .8rem; padding: 0 .5rem 0 0; }
.split { --a: var(--ok); --b: var(--ok); position: relative; width: 30px; height: 30px; min-height: 0; padding: 0;
  background: linear-gradient(to bottom right, var(--a) 49%, var(--paper) 49% 51%, var(--b) 51%); }
.split span { position: absolute; left: 4px; top: 0; font-size: 11px; line-height: 15px; font-weight: 700;
  color: var(--ok-ink); }
.split span + span { left: auto; top: auto; right: 4px; bottom: 0; }
.a-warning { --a: var(--warning); } .b-warning { --b: var(--warning); }
.a-critical { --a: var(--critical); } .b-critical { --b: var(--critical); }
.a-warning span:first-child, .b-warning span + span { color: var(--warning-ink); }
.a-critical span:first-child, .b-critical span + span { color: var(--critical-ink); }
.a-warning, .b-warning { border: 2px dashed var(--warning-mark); }
.a-critical, .b-critical { border: 2px solid var(--ink); }
.stripe td { padding: .35rem .7rem; border-top: 3px solid var(--paper); }
.dead { margin: .35rem 0; padding: .5rem .8rem; border-radius: 6px; overflow-wrap: anywhere; }
.strip { width: 288px; max-width: 100%; height: 18px; display: block; }
.strip .ok { fill: var(--ok-mark); } .strip .warning { fill: var(--warning-mark); }
.strip .critical { fill: var(--critical-mark); }
.strips td, .strips th { padding: .15rem .8rem .15rem 0; }
.strips th[scope=col] { color: var(--faint); font-weight: 400; font-size: .85rem; white-space: normal; }
.list td, .list th, .ends td, .ends th { padding: .25rem .7rem .25rem .4rem; border-top: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
.list td { white-space: nowrap; }
.list td:last-child { white-space: normal; min-width: 18rem; }
dialog { color: var(--ink); background: var(--paper); border: 1px solid var(--faint); border-radius: 8px;
  max-width: min(60rem, 96vw); padding: 1rem 1.2rem; }
dialog::backdrop { background: rgb(0 0 0 / 55%); }
dialog h2 { margin-top: 0; overflow-wrap: anywhere; }
.command { display: flex; gap: .6rem; align-items: center; flex-wrap: wrap; }
code { background: var(--panel); border: 1px solid var(--line); border-radius: 4px; padding: .25rem .5rem;
  overflow-wrap: anywhere; }
.card { display: grid; grid-template-columns: 1.6em 1fr; width: 100%; text-align: left; border: 0; margin: .35rem 0;
  padding: .6rem .8rem; border-radius: 6px; }
.card span:last-child { grid-column: 2; }
.card.ok { background-color: var(--ok); color: var(--ok-ink); }
.card.warning { background-color: var(--warning); color: var(--warning-ink); border: 3px double var(--warning-ink); }
.card.critical { background-color: var(--critical); color: var(--critical-ink); border: 3px solid var(--ink); }
.cell.ok { color: var(--ok-ink); } .cell.warning { color: var(--warning-ink); }
.cell.critical { color: var(--critical-ink); }
footer { margin-top: 2rem; padding-top: .6rem; border-top: 1px solid var(--line); color: var(--faint); font-size: .85rem; }
.key { margin-right: 1.4rem; white-space: pre-wrap; }
@media (min-width: 1200px) {
  #drawn { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 0 3rem; }
  #trouble, #pairs, #hostlist { grid-column: 1 / -1; min-width: 0; }
}
@media (max-width: 700px) {
  body { padding: 0 .6rem 1.5rem; }
  h1 { font-size: 1.1rem; }
  form label { flex: 1 1 40%; }
  form input, form select { width: 100%; }
  .list thead { position: absolute; clip-path: inset(50%); }
  .list, .list tbody, .list tr, .list th, .list td { display: block; }
  .list tr { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; padding: .3rem .5rem; }
  .list td, .list th { border: 0; white-space: normal; padding: .1rem .3rem; min-width: 0; }
  .list td:last-child { min-width: 0; }
  .list td:not(:empty)::before { content: attr(data-heading) ": "; opacity: .85; }
  .strips tr { display: block; }
  .strips td, .strips th { display: block; white-space: normal; }
}
@media print {
  form, .close, .command button, #back { display: none; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  body { max-width: none; font-size: 11px; }
  .wide { overflow: visible; }
}
"""
