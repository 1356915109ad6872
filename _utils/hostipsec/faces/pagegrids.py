"""The script of the page, its first half: elements, the data, and the grids of sites and of hosts.

Everything that a host said becomes text of an element, never markup.
"""

SCRIPT = r"""
"use strict";
const DATA = JSON.parse(document.getElementById("data").textContent);
const WORDS = DATA.words;
const OK = 0;
const SIGN = ["\u2713", "!", "\u2715"];  // by severity
const PAIR_SIGN = {
  "up": "\u2713", "down": "\u2715", "ends disagree": "\u2260", "held": "H", "maintenance": "M",
  "one-way": "\u2192", "duplicate": "2", "not answering": "?",
};
const END_SIGN = {
  "established": "\u2713", "held": "H", "one-way": "\u2192", "duplicate": "2", "connecting": "\u2026",
  "does not answer": "?", "does not know it": "\u2205",
};
const HOSTS = DATA.hosts.map((one, number) => ({
  number, id: one.id, site: WORDS[one.site], lost: WORDS[one.lost], warnings: (one.warnings || []).map((w) => WORDS[w]),
  held: one.held === undefined ? "" : WORDS[one.held], edition: one.edition === undefined ? "" : WORDS[one.edition],
  strongswan: one.strongswan === undefined ? "" : WORDS[one.strongswan], old: Boolean(one.old),
  days: one.certificate && one.certificate[0], ends: one.certificate ? one.certificate[1] : OK,
  certificate: one.certificate ? WORDS[one.certificate[2]] : "", dead: "",
}));
const ROWS = DATA.rows.map((row) => ({
  one: HOSTS[row[0]], other: HOSTS[row[1]], family: row[2], stage: WORDS[row[3]], state: DATA.states[row[4]],
  severity: row[5], reason: WORDS[row[6]], anew: WORDS[row[7]], sites: [WORDS[row[8]], WORDS[row[9]]],
  ends: row.slice(10).map((end, place) => ({
    host: HOSTS[row[place]], state: WORDS[end[0]], severity: end[1], reason: WORDS[end[2]], since: end[3], packets: end.slice(4),
  })),
}));
const CAUSES = DATA.causes.map((one) => ({
  kind: one[0], lost: one[1].map((number) => HOSTS[number]), text: WORDS[one[2]], severity: one[3], all: one[4],
  rows: one[5].map((number) => ROWS[number]),
}));
for (const cause of CAUSES) for (const host of cause.lost) host.dead = cause.kind === "dead" ? `${host.id} is dead` : cause.text.split(";")[0];
const SHORTS = new Map();
for (const host of HOSTS) {
  const short = host.id.split(".")[0];
  SHORTS.set(short, (SHORTS.get(short) || 0) + 1);
}

function short(host) {
  const name = host.id.split(".")[0];
  return SHORTS.get(name) === 1 ? name : host.id;
}

function el(tag, given, ...children) {
  const found = document.createElement(tag);
  for (const [key, value] of Object.entries(given || {})) {
    if (key.startsWith("on")) found.addEventListener(key.slice(2), value);
    else if (value === true) found.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) found.setAttribute(key, value);
  }
  found.append(...children.filter((one) => one !== null && one !== ""));
  return found;
}

function counted(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

function span(seconds) {
  const units = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const at = Math.max(0, units.findIndex((unit) => seconds >= unit[1]));
  const found = seconds < 1 ? [[0, "s"]] : units.slice(at, at + 2).map((unit, place) => [
    Math.floor((place ? seconds % units[at][1] : seconds) / unit[1]), unit[0]]);
  return found.filter((one, place) => one[0] || !place).map((one) => `${one[0]} ${one[1]}`).join(" ");
}

// Sums of connections --------------------------------------------------------------------------

function sum(rows) {
  const found = {all: 0, up: 0, severity: OK, counts: new Map()};
  for (const row of rows) {
    found.all += 1;
    found.severity = Math.max(found.severity, row.severity);
    found.counts.set(row.state, (found.counts.get(row.state) || 0) + 1);
  }
  found.up = found.counts.get("up") || 0;
  return found;
}

// of a fleet that is too large for all its connections, as the master summed them up
function summed(counts, sites) {
  const points = DATA.strip.pairs.find((one) => one[0] === sites[0] && one[1] === sites[1])[2];
  const found = {all: 0, up: 0, severity: points[points.length - 1][2], counts: new Map()};
  for (const [state, number] of Object.entries(counts)) {
    found.all += number;
    found.counts.set(DATA.states[state], number);
  }
  found.up = found.counts.get("up") || 0;
  return found;
}

function between(rows) {
  const found = new Map();
  const put = (sites, one) => found.set(JSON.stringify(sites), one);
  if (!DATA.whole) {
    for (const [one, other, counts] of DATA.sites) put([one, other], summed(counts, [one, other]));
    return found;
  }
  const parts = new Map();
  for (const row of rows) {
    const key = JSON.stringify(row.sites);
    if (!parts.has(key)) parts.set(key, []);
    parts.get(key).push(row);
  }
  for (const [key, part] of parts) found.set(key, sum(part));
  return found;
}

function others(found) {
  return DATA.states.filter((state) => state !== "up" && found.counts.get(state))
    .map((state) => `${found.counts.get(state).toLocaleString("en")} ${state}`).join(", ");
}

function inWords(found) {
  const rest = others(found);
  return `${found.up.toLocaleString("en")} of ${found.all.toLocaleString("en")} up${rest ? `, ${rest}` : ""}`;
}

// Grids: one cell is reached by Tab, the others by arrows ------------------------------------------

function grid(table) {
  const cells = [...table.querySelectorAll("button.cell")];
  cells.forEach((cell, number) => { cell.tabIndex = number ? -1 : 0; });
  table.addEventListener("keydown", (event) => {
    const step = {ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0]}[event.key];
    const cell = event.target.closest("button.cell");
    if (!step || !cell) return;
    event.preventDefault();
    const to = neighbour(table, cell.closest("td"), step);
    if (!to) return;
    cell.tabIndex = -1;
    to.tabIndex = 0;
    to.focus();
  });
  return table;
}

function neighbour(table, place, step) {
  let line = place.parentNode.rowIndex;
  let column = place.cellIndex;
  for (;;) {
    line += step[0];
    column += step[1];
    const there = table.rows[line] && table.rows[line].cells[column];
    if (!there) return null;
    const cell = there.querySelector("button.cell");
    if (cell) return cell;
  }
}

function level(severity) {
  return DATA.severities[severity];
}

// without those of dead hosts, which are told below: they would hide the rest
function living(rows) {
  return rows.filter((row) => !row.one.dead && !row.other.dead);
}

function siteGrid(rows, open) {
  const found = between(living(rows));
  const sites = [...new Set([...found.keys()].flatMap((key) => JSON.parse(key)))].sort();
  const head = el("tr", {}, el("td", {}), ...sites.map((site) => el("th", {scope: "col"}, site)));
  const lines = sites.map((one) => el("tr", {}, el("th", {scope: "row"}, one),
    ...sites.map((other) => siteCell(found, [one, other].sort(), `${one} - ${other}`, open))));
  const stripes = DATA.whole ? stripe(rows, sites.length + 1) : [];
  return grid(el("table", {class: "sites"}, el("caption", {}, "Connections that are up between two sites"),
    el("thead", {}, head), el("tbody", {}, ...lines, ...stripes)));
}

function siteCell(found, sites, name, open) {
  const one = found.get(JSON.stringify(sites));
  if (!one) return el("td", {class: "none"});
  const label = `${name}: ${inWords(one)}`;
  return el("td", {}, el("button", {
    class: `cell ${level(one.severity)}`, type: "button", "aria-label": label, title: label,
    "data-sites": sites.join(" "), onclick: () => open(sites),
  }, el("span", {class: "sign", "aria-hidden": "true"}, SIGN[one.severity]), `${one.up}/${one.all}`));
}

function siteCards(rows, open) {
  const found = [...between(living(rows))].map(([key, one]) => ({sites: JSON.parse(key), one}));
  found.sort((a, b) => b.one.severity - a.one.severity || (a.sites < b.sites ? -1 : 1));
  return el("ul", {class: "cards"}, ...found.map(({sites, one}) => el("li", {}, el("button", {
    class: `card ${level(one.severity)}`, type: "button", "data-sites": sites.join(" "), onclick: () => open(sites),
  }, el("span", {class: "sign", "aria-hidden": "true"}, SIGN[one.severity]),
  el("strong", {}, sites.join(" \u2013 ")), el("span", {}, inWords(one))))),
  ...dead(rows).map((text) => el("li", {class: "dead critical"}, text)));
}

// hosts of the one site by hosts of the other; dead ones are a stripe, as their crosses would hide the rest
function hostGrid(rows, sites, open) {
  const pairs = new Map();
  const sides = [new Map(), new Map()];
  for (const row of living(rows)) {
    const [line, column] = row.one.site === sites[0] ? [row.one, row.other] : [row.other, row.one];
    sides[0].set(line.id, line);
    sides[1].set(column.id, column);
    for (const [a, b] of sites[0] === sites[1] ? [[line, column], [column, line]] : [[line, column]]) {
      if (sites[0] === sites[1]) { sides[0].set(a.id, a); sides[1].set(a.id, a); }
      const key = `${a.number} ${b.number}`;
      pairs.set(key, [...(pairs.get(key) || []), row]);
    }
  }
  const [down, across] = sides.map((side) => [...side.values()].sort((a, b) => (a.id < b.id ? -1 : 1)));
  const stripes = stripe(rows, across.length + 1);
  const head = el("tr", {}, el("td", {}), ...across.map((host) => el("th", {scope: "col", title: host.id},
    el("span", {}, short(host)))));
  const lines = down.map((one) => el("tr", {}, el("th", {scope: "row", title: one.id}, short(one)),
    ...across.map((other) => hostCell(pairs.get(`${one.number} ${other.number}`), one, other, open))));
  return grid(el("table", {class: "hosts"},
    el("caption", {}, "Upper left: what the host of the line says; lower right: what the host of the column says"),
    el("thead", {}, head), el("tbody", {}, ...lines, ...stripes)));
}

// one line for each host that is dead, or site of which nobody sees any
function dead(rows) {
  const numbers = new Map(HOSTS.filter((host) => host.dead).map((host) => [host.dead, 0]));
  for (const row of rows) {
    for (const one of new Set([row.one.dead, row.other.dead])) if (one) numbers.set(one, numbers.get(one) + 1);
  }
  return [...numbers].filter(([, number]) => number)
    .map(([one, number]) => `\u2715 ${one}: ${counted(number, "connection")}, not counted above`);
}

function stripe(rows, columns) {
  return dead(rows).map((text) => el("tr", {class: "stripe"}, el("td", {class: "critical", colspan: columns}, text)));
}

// the worst that a host says of its connections with another
function worstEnd(rows, host) {
  const ends = rows.flatMap((row) => row.ends.filter((end) => end.host === host));
  return ends.reduce((a, b) => (b.severity > a.severity ? b : a));
}

function hostCell(rows, one, other, open) {
  if (!rows) return el("td", {class: "none"});
  const ends = [worstEnd(rows, one), worstEnd(rows, other)];
  const label = ends.map((end) => `${short(end.host)}: ${end.state}`).join("; ");
  return el("td", {}, el("button", {
    class: `cell split a-${level(ends[0].severity)} b-${level(ends[1].severity)}`, type: "button",
    "aria-label": label, title: label, onclick: () => open(rows),
  }, ...ends.map((end) => el("span", {"aria-hidden": "true"}, END_SIGN[end.state] || "\u2715"))));
}
"""
