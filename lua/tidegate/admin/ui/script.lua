-- The dashboard's program.  It uses the API and nothing else.
return [==["use strict";
const $ = (id) => document.getElementById(id);
const base = location.origin + location.pathname.replace(/\/ui\/.*$/, ""); // fetch() wants no credentials in it

// Asking -----------------------------------------------------------------------------------------

async function api(path, options) {
  const response = await fetch(base + path, options);
  const text = await response.text();
  let body;
  try { body = JSON.parse(text); } catch { body = { msg: text }; }
  if (!response.ok) throw new Error(body.msg || response.status + " " + response.statusText);
  return body;
}
const data = async (path) => (await api(path)).data;

function connected(ok, text) {
  $("state").textContent = text;
  $("state").classList.toggle("bad", !ok);
}

// Making elements: text never becomes markup.
function make(tag, fields, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(fields || {})) {
    if (key === "class") element.className = value;
    else if (key.startsWith("on")) element[key] = value;
    else if (key === "title" || key.startsWith("aria")) element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.map((child) => child ?? ""));
  return element;
}
const cell = (text, kind) => make("td", kind && { class: kind }, String(text ?? ""));

function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (n >= 1024 && unit < units.length - 1) { n /= 1024; unit++; }
  return (unit && n < 10 ? n.toFixed(1) : Math.round(n)) + " " + units[unit];
}
function age(seconds) {
  const s = Math.floor(seconds);
  if (s < 60) return s + " s";
  if (s < 3600) return Math.floor(s / 60) + " min";
  return Math.floor(s / 3600) + " h " + Math.floor(s % 3600 / 60) + " min";
}

// Views ------------------------------------------------------------------------------------------

const views = [...document.querySelectorAll("main > section")];
const nav = document.querySelector("nav");
const tabs = views.map((view) => make("button", {
  type: "button", role: "tab", id: "tab-" + view.id, onclick: () => show(view.id),
}, view.dataset.title));
nav.append(...tabs);
nav.onkeydown = (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
  next.focus();
  next.click();
};

let current = "overview";
const entered = {};
function show(id) {
  current = id;
  views.forEach((view, i) => {
    view.hidden = view.id !== id;
    tabs[i].setAttribute("aria-selected", String(view.id === id));
    tabs[i].tabIndex = view.id === id ? 0 : -1;
  });
  history.replaceState(null, "", "#" + id);
  entered[id]?.();
  tick();
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  try { localStorage.setItem("theme", name); } catch { /* a private window */ }
}
$("theme").onclick = () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
let wish;
try { wish = localStorage.getItem("theme"); } catch { /* likewise */ }
theme(wish || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));

// Charts -----------------------------------------------------------------------------------------

const POINTS = 120;
const series = { in: [], out: [], count: [] };
function push(name, value) {
  series[name].push(value);
  if (series[name].length > POINTS) series[name].shift();
  draw($("chart-" + name), series[name]);
}
function draw(canvas, points) {
  const scale = devicePixelRatio || 1;
  const width = canvas.width = canvas.clientWidth * scale, height = canvas.height = canvas.clientHeight * scale;
  const pen = canvas.getContext("2d"), most = Math.max(1, ...points);
  const color = getComputedStyle(document.documentElement).getPropertyValue("--mark");
  const x = (i) => width - (points.length - 1 - i) * width / (POINTS - 1);
  const y = (value) => height - 2 * scale - value / most * (height - 6 * scale);
  pen.beginPath();
  points.forEach((value, i) => (i ? pen.lineTo(x(i), y(value)) : pen.moveTo(x(i), y(value))));
  pen.strokeStyle = color;
  pen.lineWidth = 1.5 * scale;
  pen.stroke();
  pen.lineTo(width, height);
  pen.lineTo(x(0), height);
  pen.globalAlpha = 0.15;
  pen.fillStyle = color;
  pen.fill();
}

// Bytes a second by service, from the counters of two looks; "" is all of them.
let before = new Map(), looked = 0;
function rates(figures) {
  const seconds = looked ? figures.time - looked : 0, after = new Map(), found = new Map(), all = [0, 0];
  for (const one of figures.services) {
    const old = before.get(one.name) || [one.inputBytes, one.outputBytes];
    const rate = [one.inputBytes - old[0], one.outputBytes - old[1]]
      .map((n) => (seconds > 0 ? Math.max(0, n) / seconds : 0));
    found.set(one.name, rate);
    rate.forEach((n, i) => { all[i] += n; });
    after.set(one.name, [one.inputBytes, one.outputBytes]);
  }
  before = after;
  looked = figures.time;
  return found.set("", all);
}

// Overview ---------------------------------------------------------------------------------------

async function act(path, options, note) {
  try {
    await api(path, options);
    connected(true, note);
  } catch (error) {
    connected(false, error.message);
  }
  tick();
}

function service_button(name, what, title) {
  const button = make("button", {
    type: "button", title,
    onclick: () => act(`/services/${encodeURIComponent(name)}/${what}`, { method: "POST" }, what + ": done"),
  }, what[0].toUpperCase() + what.slice(1));
  button.dataset.act = what + " " + name; // what has the focus keeps it when the table is drawn anew
  return button;
}
function service_row(service, rate) {
  const state = service.drained ? "draining" : service.state;
  return make("tr", {}, cell(service.name), cell(service.addr), cell(service.handler), cell(service.listener),
    cell(service.chain), cell(state, state), cell(service.currentConns, "n"), cell(service.totalConns, "n"),
    cell(bytes(rate[0]) + "/s", "n"), cell(bytes(rate[1]) + "/s", "n"), cell(bytes(service.inputBytes), "n"),
    cell(bytes(service.outputBytes), "n"), cell(service.totalErrs, service.totalErrs ? "n bad" : "n"),
    make("td", {}, service_button(service.name, "drain", "accept no more connections; those that are open go on"), " ",
      service_button(service.name, "undrain", "accept again")));
}

function overview(figures, rate) {
  const focused = document.activeElement?.dataset?.act;
  $("services").tBodies[0].replaceChildren(...figures.services.map((one) => service_row(one, rate.get(one.name))));
  if (focused) [...document.querySelectorAll("[data-act]")].find((one) => one.dataset.act === focused)?.focus();
}

// Connections ------------------------------------------------------------------------------------

function kill(sid) {
  return act("/connections/" + sid, { method: "DELETE" }, "closed " + sid);
}
async function connections() {
  const query = new URLSearchParams(new FormData($("filter")));
  query.set("limit", "200");
  const live = await data("/connections?" + query);
  $("total").textContent = live.total > live.count ? `${live.count} of ${live.total}` : `${live.total}`;
  const focused = document.activeElement?.dataset?.sid;
  $("live").tBodies[0].replaceChildren(...live.list.map((one) => {
    const button = make("button", {
      type: "button", title: "close this connection", onclick: () => kill(one.sid),
    }, "✕");
    button.dataset.sid = one.sid;
    button.setAttribute("aria-label", "close the connection of " + one.client);
    return make("tr", {}, cell(one.service), cell(one.client), cell(one.user), cell(one.host), cell(one.route),
      cell(bytes(one.inputBytes), "n"), cell(bytes(one.outputBytes), "n"),
      cell(one.inputRate === undefined ? "" : bytes(one.inputRate + one.outputRate) + "/s", "n"),
      cell(age(one.age), "n"), make("td", {}, button));
  }));
  if (focused) document.querySelector(`[data-sid="${focused}"]`)?.focus();
}
$("filter").oninput = () => tick();
$("filter").onsubmit = (event) => event.preventDefault();

// Chains -----------------------------------------------------------------------------------------

const WIDE = 240, HIGH = 44, GAP = 60, ROW = 56;
function svg(tag, fields, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(fields)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
function box(x, y, title, note, kind) {
  return svg("g", { class: kind || "", transform: `translate(${x} ${y})` },
    svg("title", {}, title + "\n" + note), svg("rect", { width: WIDE, height: HIGH, rx: 6 }),
    svg("text", { x: 10, y: 18 }, title.slice(0, 34)), svg("text", { x: 10, y: 34, class: "soft" }, note.slice(0, 38)));
}
function line(x1, y1, x2, y2) {
  const half = (x1 + x2) / 2;
  return svg("path", { d: `M${x1} ${y1} C${half} ${y1} ${half} ${y2} ${x2} ${y2}` });
}
const kind_of = (node) => (node.failed || node.healthy === false ? "failed" : "healthy");
function note_of(node) {
  const latency = node.probeLatency ?? node.latency;
  return [node.connector, node.dialer, node.addr].filter(Boolean).join(" ")
    + (latency ? ` ${(latency * 1000).toFixed(1)} ms` : "");
}
function picture(chain, services, nodes) {
  const columns = [services.map((service) => [service.name, service.addr || "", ""])];
  for (const hop of chain.hops || []) {
    const own = nodes.filter((node) => node.hop === hop.name && (!node.chain || node.chain === chain.name));
    const list = own.length ? own : hop.nodes || [];
    columns.push(list.length ? list.map((node) => [node.name || node.addr, note_of(node), kind_of(node)])
      : [[hop.name, "", ""]]);
  }
  const tallest = Math.max(1, ...columns.map((column) => column.length));
  const height = tallest * ROW, width = columns.length * (WIDE + GAP);
  const out = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" });
  const middle = (column, i) => (i + 0.5) * height / column.length;
  columns.forEach((column, c) => column.forEach((item, i) => {
    const x = c * (WIDE + GAP), y = middle(column, i);
    for (let j = 0; c > 0 && j < columns[c - 1].length; j++) {
      out.append(line(x - GAP, middle(columns[c - 1], j), x, y));
    }
    out.append(box(x, y - HIGH / 2, item[0], item[1], item[2]));
  }));
  return out;
}
async function chains() {
  const [all, services, nodes] = await Promise.all(["/config/chains", "/config/services", "/nodes"].map(data));
  const parts = (all.list || []).map((chain) => make("div", {}, make("h2", {}, chain.name), picture(chain,
    (services.list || []).filter((service) => service.handler?.chain === chain.name), nodes.list || [])));
  const nothing = make("p", {}, "There are no chains: all services connect directly.");
  $("drawing").replaceChildren(...(parts.length ? parts : [nothing]));
}

// Configuration ----------------------------------------------------------------------------------

const COLLECTIONS = ["services", "chains", "hops", "authers", "admissions", "bypasses", "resolvers", "hosts",
  "ingresses", "routers", "observers", "recorders", "sds", "limiters", "climiters", "rlimiters", "quotas", "caches"];
$("collection").append(...COLLECTIONS.map((name) => make("option", {}, name)));
let objects = [], fresh = false;

function say(ok, text) {
  $("message").textContent = text;
  $("message").className = ok ? "good" : "bad";
}
function pick() {
  const object = objects.find((item) => item.name === $("object").value);
  fresh = false;
  if (object) delete object.status;
  $("editor").value = object ? JSON.stringify(object, null, 2) : "";
}
async function list_objects(name) {
  objects = (await data("/config/" + $("collection").value)).list || [];
  $("object").replaceChildren(...objects.map((item) => make("option", {}, item.name)));
  if (name) $("object").value = name;
  pick();
  $("whole").textContent = await (await fetch(base + "/config?format=yaml&mask=true")).text();
}
async function change(method, path, body, note) {
  try {
    await api(path, { method, body });
    say(true, note);
    return true;
  } catch (error) {
    say(false, error.message);
    return false;
  }
}
entered.config = () => list_objects().catch((error) => say(false, error.message));
$("collection").onchange = () => { say(true, ""); entered.config(); };
$("object").onchange = pick;
$("create").onclick = () => {
  fresh = true;
  $("editor").value = JSON.stringify({ name: "" }, null, 2);
  $("editor").focus();
  say(true, "Give it a name, then apply.");
};
$("apply").onclick = async () => {
  let object;
  try { object = JSON.parse($("editor").value); } catch (error) { return say(false, error.message); }
  const list = "/config/" + $("collection").value, name = object.name || "";
  const done = fresh ? await change("POST", list, $("editor").value, "created " + name)
    : await change("PUT", list + "/" + encodeURIComponent($("object").value), $("editor").value, "applied");
  if (done) await list_objects(fresh ? name : $("object").value);
};
$("delete").onclick = async () => {
  const name = $("object").value;
  if (!name || !confirm(`Delete ${name}?`)) return;
  const path = `/config/${$("collection").value}/${encodeURIComponent(name)}`;
  if (await change("DELETE", path, undefined, "deleted " + name)) await list_objects();
};
$("reload").onclick = async () => {
  if (await change("POST", "/config/reload", undefined, "the files were read again")) await list_objects();
};
$("save").onclick = () => change("POST", "/config", undefined, "saved");

// Log --------------------------------------------------------------------------------------------

const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"], LINES = 1000;
let source;
function visible(item) {
  const wanted = LEVELS.indexOf($("level").value), text = $("find").value.toLowerCase();
  return LEVELS.indexOf(item.dataset.level) >= wanted && item.textContent.toLowerCase().includes(text);
}
function add_line(level, text) {
  const item = make("li", { class: level }, text);
  item.dataset.level = level;
  item.hidden = !visible(item);
  const low = innerHeight + scrollY >= document.body.scrollHeight - 40;
  $("lines").append(item);
  while ($("lines").children.length > LINES) $("lines").firstChild.remove();
  if (low && current === "log") scrollTo(0, document.body.scrollHeight);
}
entered.log = () => {
  if (source) return;
  source = new EventSource(base + "/events?kinds=log,state");
  source.addEventListener("log", (event) => {
    const { level, line: text } = JSON.parse(event.data);
    add_line(level, text);
  });
  source.addEventListener("lost", (event) => add_line("warn", `… ${JSON.parse(event.data).count} lines were lost`));
};
const filter_lines = () => { for (const item of $("lines").children) item.hidden = !visible(item); };
$("level").onchange = filter_lines;
$("find").oninput = filter_lines;
$("clear").onclick = () => $("lines").replaceChildren();

// Looking, once a second -------------------------------------------------------------------------

let busy = false;
async function tick() {
  if (busy || document.hidden) return;
  busy = true;
  try {
    const figures = await data("/stats"), open = figures.total.currentConns + figures.process.sessions;
    const rate = rates(figures), [input, output] = rate.get("");
    push("in", input);
    push("out", output);
    push("count", open);
    $("rate-in").textContent = bytes(input) + "/s";
    $("rate-out").textContent = bytes(output) + "/s";
    $("count").textContent = open;
    if (current === "overview") overview(figures, rate);
    if (current === "connections") await connections();
    if (current === "chains") await chains();
    connected(true, "live");
  } catch (error) {
    connected(false, error.message || "no answer");
  }
  busy = false;
}
setInterval(tick, 1000);
show(views.some((view) => "#" + view.id === location.hash) ? location.hash.slice(1) : "overview");
]==]
