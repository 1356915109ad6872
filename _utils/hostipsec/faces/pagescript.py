"""The script of the page, its second half: filters, trouble, one pair, the strips, the hosts, the age."""

SCRIPT = r"""
// Filters, which are the address ------------------------------------------------------------------

const KINDS = {
  held: (host) => host.held, expiring: (host) => host.ends > OK, old: (host) => host.old,
  silent: (host) => host.lost, warned: (host) => host.warnings.length,
};
const KEYS = ["site", "host", "state", "hosts", "one", "two"];  // the last two: the sites that are opened
const narrow = window.matchMedia("(max-width: 700px)");

function chosen() {
  const given = new URLSearchParams(location.hash.slice(1));
  return Object.fromEntries(KEYS.map((key) => [key, given.get(key) || ""]));
}

function choose(change, beside) {
  const now = {...chosen(), ...change};
  const given = new URLSearchParams(KEYS.filter((key) => now[key]).map((key) => [key, now[key]]));
  const address = String(given) ? `#${given}` : "#";
  if (beside) history.replaceState(null, "", address);
  else history.pushState(null, "", address);
  render();
}

function fits(host, now) {
  return (!now.host || host.id.toLowerCase().includes(now.host.toLowerCase()))
    && (!now.hosts || !KINDS[now.hosts] || KINDS[now.hosts](host));
}

function kept(now) {
  return ROWS.filter((row) => (!now.site || row.sites.includes(now.site))
    && (!now.state || (now.state === "trouble" ? row.severity > OK : row.state === now.state))
    && (fits(row.one, now) || fits(row.other, now)));
}

function select(name, label, options) {
  const list = el("select", {id: name, onchange: (event) => choose({[name]: event.target.value})},
    ...options.map(([value, text]) => el("option", {value}, text)));
  return el("label", {}, label, list);
}

function bar() {
  const sites = [...new Set(DATA.sites.flatMap((one) => [one[0], one[1]]))].sort();
  const hosts = [["", "all"], ["held", "held"], ["expiring", "certificate ends soon"], ["old", "another version"],
    ["silent", "no answer"], ["warned", "with warnings"]];
  return el("form", {id: "filters", role: "search", "aria-label": "Filters", onsubmit: (event) => event.preventDefault()},
    el("label", {}, "Host", el("input", {id: "host", type: "search", autocomplete: "off", placeholder: "part of a name",
      oninput: (event) => choose({host: event.target.value}, true)})),
    select("site", "Site", [["", "all"], ...sites.map((site) => [site, site])]),
    select("state", "State", [["", "all"], ["trouble", "in trouble"], ...DATA.states.map((one) => [one, one])]),
    select("hosts", "Hosts", hosts),
    el("button", {type: "button", id: "clear", onclick: () => choose(Object.fromEntries(KEYS.map((key) => [key, ""])))},
      "All"),
    el("output", {id: "found"}));
}

// One pair -----------------------------------------------------------------------------------------

function quoted(text) {
  return /^[A-Za-z0-9._-]+$/.test(text) ? text : `'${text.replace(/'/g, "'\\''")}'`;
}

function command(text) {
  const code = el("code", {}, text);
  const copy = () => {
    getSelection().selectAllChildren(code);
    if (navigator.clipboard) navigator.clipboard.writeText(text).catch(() => {});
  };
  return el("p", {class: "command"}, code, el("button", {type: "button", onclick: copy}, "Copy"));
}

function show(rows) {
  const hosts = [rows[0].one, rows[0].other];
  const close = el("button", {type: "button", class: "close", onclick: () => dialog.close()}, "Close");
  const dialog = el("dialog", {"aria-labelledby": "pair", onclose: () => dialog.remove()},
    el("h2", {id: "pair"}, `${hosts[0].id} \u2013 ${hosts[1].id}`), ...rows.map(connection),
    ...hosts.filter((host) => host.held).map((host) => el("p", {}, `${host.id} is held: ${host.held}`)),
    command(`salt -L ${quoted(`${hosts[0].id},${hosts[1].id}`)} ipsec.status`),
    command(`salt-run ipsec.status host=${quoted(hosts[0].id)}`), close);
  document.body.append(dialog);
  dialog.showModal();
  close.focus();
}

// in and out, as its SAs carried them: seconds before the host looked
function packets(end) {
  const ways = ["in", "out"].map((way, place) => [way, end.packets[place]]).filter((one) => Number.isFinite(one[1]));
  return ways.length ? ways.map(([way, seconds]) => `${way} ${span(seconds)} ago`).join(", ") : "\u2013";
}

function connection(row) {
  const line = (end) => el("tr", {}, el("th", {scope: "row"}, short(end.host)),
    el("td", {class: level(end.severity)}, end.state), el("td", {}, end.reason),
    el("td", {}, Number.isFinite(end.since) ? span(end.since) : "\u2013"), el("td", {}, packets(end)));
  return el("section", {},
    el("h3", {}, el("span", {class: `badge ${level(row.severity)}`}, `${PAIR_SIGN[row.state]} ${row.state}`),
      ` IP${row.family}, stage ${row.stage}`),
    row.reason ? el("p", {}, row.reason) : "",
    el("table", {class: "ends"}, el("thead", {}, el("tr", {}, ...["End", "Says", "Why", "SA since", "Last packet"].map(
      (text) => el("th", {scope: "col"}, text)))), el("tbody", {}, ...row.ends.map(line))),
    row.anew && row.anew !== "yes" ? el("p", {}, `Could authenticate anew now: ${row.anew}`) : "");
}

function rowButton(row) {
  return el("li", {}, el("button", {class: "row", type: "button", onclick: () => show([row])},
    el("span", {class: `badge ${level(row.severity)}`}, `${PAIR_SIGN[row.state]} ${row.state}`),
    ` ${short(row.one)} \u2013 ${short(row.other)} ${row.family} `, el("span", {class: "why"}, row.reason)));
}

function list(rows, more) {
  const first = rows.slice(0, 60);
  const left = more + rows.length - first.length;
  return el("ul", {class: "rows"}, ...first.map(rowButton),
    left ? el("li", {}, `and ${counted(left, "connection")} more: filter, or salt-run ipsec.status`) : "");
}

// Sections -----------------------------------------------------------------------------------------

function trouble(rows) {
  const shown = new Set(rows);
  const parts = CAUSES.map((cause) => ({cause, rows: cause.rows.filter((row) => shown.has(row))}))
    .filter((one) => one.rows.length);
  const groups = parts.map((one) => el("details", {class: level(one.cause.severity), open: parts.length === 1 && one.rows.length <= 20},
    el("summary", {}, el("span", {class: "sign", "aria-hidden": "true"}, SIGN[one.cause.severity]), one.cause.text,
    one.rows.length < one.cause.rows.length ? ` (${one.rows.length} of these are chosen)` : ""),
    list(one.rows, one.cause.all - one.cause.rows.length)));
  const notes = DATA.notes.map((one) => el("p", {class: "warning"}, `! ${WORDS[one]}`));
  if (!groups.length && !notes.length) return "";
  return el("section", {id: "trouble"}, el("h2", {}, "Trouble"), ...groups, ...notes);
}

function mesh(rows) {
  const open = (sites) => { choose({one: sites[0], two: sites[1]}); document.getElementById("pairs").focus(); };
  const drawn = narrow.matches ? siteCards(rows, open) : el("div", {class: "wide"}, siteGrid(rows, open));
  const partly = DATA.partly.map((one) => el("p", {class: "partly"}, WORDS[one]));
  return el("section", {id: "sites"}, el("h2", {}, "Sites"), ...partly, drawn);
}

function pairs(rows, now) {
  if (!now.one || !now.two) return "";
  const sites = [now.one, now.two].sort();
  const part = rows.filter((row) => row.sites[0] === sites[0] && row.sites[1] === sites[1]);
  const bad = living(part).filter((row) => row.severity > OK);
  const rest = living(part).filter((row) => row.severity === OK);
  const gone = dead(part).map((text) => el("p", {class: "dead critical"}, text));
  const cards = () => [list(bad, 0), ...gone, el("details", {}, el("summary", {}, `${rest.length} as they should be`), list(rest, 0))];
  const name = `Hosts of ${sites[0]} and ${sites[1]}`;
  const wide = () => [el("div", {class: "wide", tabindex: "0", role: "region", "aria-label": name},
    hostGrid(part, sites, show))];
  const drawn = !DATA.whole ? [el("p", {}, "The fleet is too large for every connection; these are in trouble."),
    list(bad, 0)] : narrow.matches ? cards() : wide();
  return el("section", {id: "pairs", tabindex: "-1"}, el("h2", {}, name, " ", el("button", {
    type: "button", id: "back", onclick: () => choose({one: "", two: ""})}, "Close")), ...drawn);
}

function strips(now) {
  const times = DATA.strip.times;
  const lines = DATA.strip.pairs.filter((one) => !now.site || one[0] === now.site || one[1] === now.site)
    .map(([one, other, points]) => el("tr", {}, el("th", {scope: "row"}, `${one} \u2013 ${other}`),
      el("td", {}, strip(points, times))));
  if (times.length < 2 || !lines.length) return "";
  return el("section", {id: "strips"}, el("h2", {}, `The last ${times.length} reports`), el("table", {class: "strips"},
    el("thead", {}, el("tr", {}, el("th", {scope: "col"}, "Sites"), el("th", {scope: "col"},
      `since ${utc(times[0])}: a low mark is well, a high one trouble`))), el("tbody", {}, ...lines)));
}

function utc(seconds) {
  return `${new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC`;
}

function strip(points, times) {
  const svg = (tag, given) => {
    const found = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(given)) found.setAttribute(key, value);
    return found;
  };
  const bad = points.filter((point) => point && point[2] > OK).length;
  const drawn = svg("svg", {viewBox: "0 0 288 18", class: "strip", role: "img",
    "aria-label": `${points.length} reports, ${bad} with trouble`});
  points.forEach((point, number) => {
    if (!point) return;
    const high = [4, 11, 18][point[2]];
    const mark = svg("rect", {x: number * 6, y: 18 - high, width: 5, height: high, class: level(point[2])});
    const title = svg("title", {});
    title.textContent = `${utc(times[number])}: ${point[0]} of ${point[1]} up`;
    mark.append(title);
    drawn.append(mark);
  });
  return drawn;
}

function hosts(now) {
  const shown = HOSTS.filter((host) => (!now.site || host.site === now.site) && fits(host, now));
  const cell = (text, heading, severity) => el("td", {"data-heading": heading, class: severity || false}, text);
  const lines = shown.map((host) => el("tr", {}, el("th", {scope: "row"}, host.id), cell(host.site, "Site"),
    host.lost ? cell(`? ${host.lost}`, "Answer", "warning") : cell("\u2713 answered", "Answer"),
    host.held ? cell(`H ${host.held}`, "Held", "warning") : cell("\u2013", "Held"),
    cell(host.days === undefined ? "\u2013" : `${host.ends > OK ? "! " : ""}${host.days} days`, "Certificate",
      host.ends > OK && level(host.ends)),
    cell(host.strongswan || "\u2013", "strongSwan"), cell(host.edition ? `${host.old ? "! " : ""}${host.edition}` : "\u2013",
      "hostipsec", host.old && "warning"), cell(host.warnings.join("; "), "Warnings", host.warnings.length && "warning")));
  const headings = ["Host", "Site", "Answer", "Held", "Certificate", "strongSwan", "hostipsec", "Warnings"];
  return el("section", {id: "hostlist"}, el("details", {open: Boolean(now.host || now.hosts)},
    el("summary", {}, el("h2", {}, `Hosts (${shown.length})`)),
    el("div", {class: "wide", tabindex: "0", role: "region", "aria-label": "Hosts"}, el("table", {class: "list"},
      el("thead", {}, el("tr", {}, ...headings.map((text) => el("th", {scope: "col"}, text)))),
      el("tbody", {}, ...lines)))));
}

function legend() {
  const sign = (severity, text) => el("span", {class: "key"}, el("span", {class: `badge ${level(severity)}`}, SIGN[severity]),
    ` ${text}`);
  const signs = [...Object.entries(PAIR_SIGN).slice(2), ["\u2026", "\u2026"], ["\u2205", "\u2205"]];
  const names = {"\u2026": "connecting", "\u2205": "does not know it"};
  const said = signs.map(([state, glyph]) => `${glyph} ${names[state] || state}`).join("   ");
  return el("p", {}, sign(0, "as it should be"), sign(1, "warning"), sign(2, "critical"), el("span", {class: "key"}, said));
}

// Drawing ------------------------------------------------------------------------------------------

function render() {
  const now = chosen();
  for (const key of ["site", "host", "state", "hosts"]) {
    const field = document.getElementById(key);
    if (field !== document.activeElement || key !== "host") field.value = now[key];
  }
  const rows = kept(now);
  const some = now.site || now.host || now.state || now.hosts;
  document.getElementById("found").textContent = some ? `${inWords(sum(rows))} of what is chosen` : "";
  const drawn = [trouble(rows), mesh(rows), strips(now), pairs(rows, now), hosts(now)];
  document.getElementById("drawn").replaceChildren(...drawn.filter((one) => one !== ""));
}

function age() {
  const seconds = Math.floor(Date.now() / 1000 - DATA.made.time);
  const late = seconds > 2 * DATA.made.interval;
  const stale = document.getElementById("stale");
  document.getElementById("age").textContent = seconds < -60
    ? "(this computer's clock is behind the master's)" : `(${span(Math.max(0, seconds))} ago)`;
  document.body.classList.toggle("stale", late);
  stale.hidden = !late;
  if (late && !stale.textContent) stale.textContent = "This report is old: none has replaced it in two intervals, "
    + "or the page was not loaded anew. It says nothing of now.";
}

let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const one of opened) one.open = true;
});
addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
addEventListener("hashchange", render);
addEventListener("popstate", render);
narrow.addEventListener("change", render);
document.getElementById("main").replaceChildren(bar(), el("div", {id: "drawn"}));
document.getElementById("legend").prepend(legend());
render();
age();
setInterval(age, 1000);
"""
