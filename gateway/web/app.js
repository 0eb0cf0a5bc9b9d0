// The page: asks, draws, and sends what people decide. Text only ever enters as
// text, so nothing an execution holds can become markup.
import * as view from "./view.js";

const $ = (id) => document.getElementById(id);
const EVERY = { clusters: 2000, traffic: 1000, executions: 15000, fallback: 3000 };
const state = { application: "", failed: new Map(), drawn: new Map(), updated: new Map(), live: false, clusters: [], traffic: null };

// --- building ---------------------------------------------------------------

function el(name, attributes = {}, ...children) {
  const svg = ["svg", "rect", "line", "path"].includes(name);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((c) => c !== null && c !== undefined && c !== ""));
  return node;
}

const tag = ({ kind, icon, text }) => el("span", { class: `tag ${kind}` }, el("span", { "aria-hidden": "true" }, icon), text);

// Draws a section again only when it changed, and keeps the focus where it was.
function draw(id, model, build) {
  const text = JSON.stringify(model);
  if (state.drawn.get(id) === text) return;
  state.drawn.set(id, text);
  const focused = document.activeElement?.id;
  const chosen = [...$(id).querySelectorAll("select[id]")].map((s) => [s.id, s.value]);
  $(id).replaceChildren(...build(model));
  for (const [select, value] of chosen) if ($(select)) $(select).value = value;
  if (focused && document.activeElement?.id !== focused) document.getElementById(focused)?.focus();
}

const empty = (text) => el("p", { class: "empty" }, text);

// --- asking -----------------------------------------------------------------

async function ask(path, options = {}) {
  const answer = await fetch(path, { headers: { accept: "application/json", "content-type": "application/json" }, ...options });
  const text = await answer.text();
  const body = text ? JSON.parse(text) : null;
  if (!answer.ok) throw new Error(body?.message ?? `${answer.status} ${answer.statusText}`);
  return body;
}

// Notes a failure under its name until the same succeeds again.
async function attempt(name, work) {
  try {
    const found = await work();
    state.failed.delete(name);
    state.updated.set(name, Date.now());
    return found;
  } catch (error) {
    // A TypeError is how fetch says that nobody answered.
    state.failed.set(name, error instanceof TypeError ? "no answer" : error.message);
    return undefined;
  } finally {
    trouble();
  }
}

function trouble() {
  const [first] = state.failed;
  const box = $("trouble");
  box.hidden = !first;
  if (first) {
    const known = state.updated.get(first[0]);
    const age = known ? ` Shown is what was known ${view.span(Date.now() - known)} ago.` : "";
    box.textContent = `${first[0]}: ${first[1]}.${age}`;
  }
}

function link(kind, text) {
  $("link").dataset.state = kind;
  if ($("link-text").textContent !== text) $("link-text").textContent = text;
}

const path = (...parts) => "/" + parts.map(encodeURIComponent).join("/");

// --- executions ---------------------------------------------------------------

function times(e) {
  const timer = (from, to) => el("span", { class: "timer", "data-from": from, "data-to": to ?? "" }, view.span((to ?? Date.now()) - from));
  return e.start ? timer(e.start, e.end) : "";
}

function stageBox(s) {
  const over = s.end && s.start ? view.span(s.end - s.start) : "";
  const running = s.status === "RUNNING" && s.start
    ? el("span", { class: "timer", "data-from": s.start, "data-to": "" }, view.span(Date.now() - s.start)) : over;
  return el("li", { class: `stage ${s.kind}`, "data-testid": "stage-segment" },
    el("b", {}, s.name), `${s.icon} ${s.text} `, running);
}

function judgeBox(e, j) {
  const choose = j.inputs.length
    ? el("select", { id: `input-${j.stageId}`, "aria-label": "Choice" }, ...j.inputs.map((i) => el("option", { value: i }, i))) : null;
  const give = (judgmentStatus) => async (event) => {
    const body = { judgmentStatus };
    if (choose) body.judgmentInput = choose.value;
    await act(event.target, `Judgment ${j.name}`, () =>
      ask(path("pipelines", e.id, "stages", j.stageId), { method: "PATCH", body: JSON.stringify(body) }));
  };
  return el("div", { class: "judge" }, el("h4", {}, `Decision needed: ${j.name}`), j.instructions ? el("p", {}, j.instructions) : null,
    el("div", { class: "row" }, choose,
      el("button", { type: "button", id: `go-${j.stageId}`, onclick: give("continue"), "aria-label": `Continue after ${j.name}` }, "Continue"),
      el("button", { type: "button", class: "danger", id: `stop-${j.stageId}`, onclick: give("stop"), "aria-label": `Stop at ${j.name}` }, "Stop")));
}

function executionCard(e) {
  const cancel = async (event) => {
    const button = event.target;
    const given = await dialog(`Cancel ${e.name}?`, "Stages that run are told to stop; what they changed stays.", [{ name: "reason", label: "Reason (optional)" }], "Cancel it");
    if (!given) return;
    const reason = given.reason ? `?reason=${encodeURIComponent(given.reason)}` : "";
    await act(button, `Cancelling ${e.name}`, () => ask(path("pipelines", e.id, "cancel") + reason, { method: "PUT" }));
  };
  return el("article", { class: "card", "data-testid": "execution-row", "aria-label": `${e.name}, ${e.text}` },
    el("div", { class: "row" }, el("h3", {}, e.name), tag(e), el("span", { class: "soft" }, e.by), el("span", { class: "soft" }, times(e), e.end ? el("span", { class: "ago", "data-at": e.end }, ` · ${view.ago(e.end, Date.now())}`) : ""),
      el("a", { class: "soft push", href: path("pipelines", e.id) }, "JSON"),
      e.open ? el("button", { type: "button", class: "danger", id: `cancel-${e.id}`, onclick: cancel, "aria-label": `Cancel ${e.name}` }, "Cancel") : null),
    el("ol", { class: "stages", "aria-label": "Stages" }, ...e.stages.map(stageBox)),
    ...e.judgments.map((j) => judgeBox(e, j)),
    e.cause ? el("p", { class: "cause", "data-testid": "failure-summary" }, e.cause) : null,
    ...e.notices.map((text) => el("p", { class: "notice", "data-testid": "system-notice" }, text)));
}

async function readExecutions() {
  if (!state.application) return;
  const list = await attempt("Executions", () => ask(`${path("applications", state.application, "pipelines")}?limit=5&expand=true`));
  if (list) {
    draw("executions", view.executions(list), (all) => all.length ? all.map(executionCard) : [empty("Nothing has run yet. Start a pipeline, or push an image.")]);
  }
}

async function readPipelines() {
  if (!state.application) return;
  const list = await attempt("Pipelines", () => ask(path("applications", state.application, "pipelineConfigs")));
  if (!list) return;
  const start = (p) => async (event) => {
    const button = event.target;
    const fields = (p.parameterConfig ?? []).map((f) => ({ name: f.name, label: f.label || f.name, value: f.default ?? "", required: Boolean(f.required), options: f.hasOptions ? (f.options ?? []).map((o) => o.value) : null }));
    const given = await dialog(`Start ${p.name}?`, p.description ?? "", fields, "Start");
    if (!given) return;
    await act(button, `Starting ${p.name}`, () => ask(path("pipelines", state.application, p.name), { method: "POST", body: JSON.stringify({ type: "manual", parameters: given }) }));
  };
  draw("pipelines", list, (all) => all.map((p, i) => el("button", { type: "button", class: "quiet", id: `start-${i}`, disabled: p.disabled === true, onclick: start(p), title: p.disabled ? "This pipeline is disabled" : null }, `▶ Start ${p.name}`)));
}

// --- clusters -------------------------------------------------------------------

function groupRow(g) {
  const role = g.disabled ? { kind: "off", icon: "–", text: "disabled" } : { kind: "good", icon: "●", text: "serving" };
  return el("div", { class: `group ${g.disabled ? "idle" : ""}`, "data-testid": "server-group-row" },
    el("div", { class: "row" }, el("span", { class: "version" }, el("small", {}, "version "), g.version), tag(role),
      el("span", { class: "soft push mono" }, g.name)),
    el("p", { class: "soft" }, `${g.up} of ${g.desired ?? g.total} up`, g.weight !== undefined && g.weight !== null ? ` · weight ${g.weight}` : "",
      g.digest ? el("span", { class: "mono", title: g.digest }, ` · ${g.digest.slice(0, 19)}`) : ""),
    el("ul", { class: "boxes", "aria-label": `Instances of ${g.name}` }, ...g.instances.map((i) =>
      el("li", { class: `box ${i.kind}`, title: i.id, "data-testid": "instance-box" }, `${i.icon} ${i.zone || i.id} ${i.text}`))));
}

// Where users reach the cluster: a link, unless it goes by a name this browser may not know.
function addressLine(a) {
  const path = a.path || "/";
  if (!a.port) return el("p", { class: "soft mono" }, a.host || a.name);
  if (a.host) return el("p", { class: "soft mono" }, `${a.host}${path} at port ${a.port}`);
  const url = `http://${location.hostname}:${a.port}${path}`;
  return el("p", { class: "soft mono" }, el("a", { href: url }, url));
}

// One shape for each version: a bar for each second, those of a second one upon the other.
function bands(s) {
  const width = 100 / Math.max(1, s.seconds.length), high = 38;
  return s.versions.map((v, n) => {
    const bar = (shares, i) => {
      if (!shares?.[n]) return "";
      const below = shares.slice(0, n).reduce((sum, share) => sum + share, 0);
      const [x, y, height] = [i * width, 39.6 - below * high, shares[n] * high].map((number) => number.toFixed(2));
      return `M${x} ${y}h${width.toFixed(2)}v-${height}h-${width.toFixed(2)}z`;
    };
    return el("path", { class: `share-${v.color}`, d: s.seconds.map(bar).join("") });
  });
}

function shareBox(s, several) {
  const known = s.versions.filter((v) => v.now !== null);
  const text = (v) => `version ${v.version}: ${view.percent(v.now)}`;
  const title = `Share of requests${several ? ` of ${s.loadBalancer}` : ""}, last minute`;
  const late = s.ageS > 5 ? el("span", { class: "soft" }, `${view.span(s.ageS * 1000)} ago`) : null;
  const box = (...children) => el("div", { class: "share-box", "data-testid": "shares" }, ...children);
  if (!known.length) return box(el("p", { class: "soft" }, `${title}: no request was sent`));
  return box(el("p", { class: "soft" }, title),
    el("svg", { class: "chart shares", viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": `${title}: ${known.map(text).join(", ")}` },
      el("line", { x1: 0, x2: 100, y1: 39.8, y2: 39.8, "stroke-width": 0.4 }), ...bands(s)),
    el("ul", { class: "legend" }, ...known.map((v) => el("li", { "data-testid": "share" },
      el("span", { class: `swatch share-${v.color}`, "aria-hidden": "true" }), text(v))),
    late ? el("li", {}, late) : null));
}

// Traffic comes more often than clusters, so it is drawn into their cards by itself.
function drawShares() {
  for (const c of state.clusters) {
    if ($(`shares-${c.key}`)) draw(`shares-${c.key}`, view.shares(c, state.traffic), (all) => all.map((s) => shareBox(s, all.length > 1)));
  }
}

function clusterCard(c) {
  state.drawn.delete(`shares-${c.key}`);
  return el("article", { class: "card", "data-testid": "cluster-pod", "aria-label": `${c.cluster} in ${c.account}` },
    el("div", { class: "row" }, el("h3", {}, c.account), el("span", { class: "soft" }, c.cluster), el("span", { class: "push" }, tag(c.health))),
    ...c.addresses.map(addressLine),
    el("div", { id: `shares-${c.key}` }),
    ...c.groups.map(groupRow));
}

async function readClusters() {
  if (!state.application) return;
  const [groups, balancers] = await Promise.all([
    attempt("Clusters", () => ask(path("applications", state.application, "serverGroups"))),
    attempt("Load balancers", () => ask(path("applications", state.application, "loadBalancers"))),
  ]);
  if (groups) {
    state.clusters = view.clusters(groups, balancers ?? []);
    draw("clusters", state.clusters, (all) => all.length ? all.map(clusterCard) : [empty("Nothing is deployed yet.")]);
    drawShares();
  }
}

// --- traffic ----------------------------------------------------------------------

function chart(bars, name) {
  const top = Math.max(1, ...bars.map((b) => b.ok + b.ko)), width = 100 / Math.max(1, bars.length);
  const svg = el("svg", { class: "chart", viewBox: "0 0 100 40", preserveAspectRatio: "none", role: "img", "aria-label": `Requests a second of ${name}, at most ${top}` });
  svg.append(el("line", { x1: 0, x2: 100, y1: 39.8, y2: 39.8, "stroke-width": 0.4 }));
  bars.forEach((b, i) => {
    const ok = (b.ok / top) * 38, ko = (b.ko / top) * 38;
    if (b.ok) svg.append(el("rect", { class: "ok", x: i * width, width: width * 0.8, y: 39.6 - ok, height: ok }));
    if (b.ko) svg.append(el("rect", { class: "ko", x: i * width, width: width * 0.8, y: 39.6 - ok - ko, height: ko }));
  });
  return svg;
}

function trafficCard(t) {
  const figure = (name, value, alarm) => el("div", {}, el("dt", {}, name), el("dd", { class: alarm ? "alarm" : null }, String(value)));
  return el("article", { class: "card", "aria-label": `Traffic of ${t.name}` },
    el("h3", { class: "mono" }, t.name === "-" ? "answered by no server group" : t.name), chart(t.bars, t.name),
    el("dl", { class: "figures" }, figure("requests/s", t.rate < 10 ? t.rate.toFixed(1) : Math.round(t.rate)), figure("p50", view.millis(t.p50)), figure("p99", view.millis(t.p99)),
      figure("in flight", t.inFlight), figure("answered", t.ok), figure("4xx", t.clientError), figure("5xx, instance", t.serverError, t.serverError > 0),
      figure("5xx, balancer", t.ownError, t.ownError > 0), figure("retries", t.retries, t.retries > 0)));
}

async function readTraffic() {
  if (!state.application) return;
  const found = await attempt("Load balancer", () => ask(`/traffic?application=${encodeURIComponent(state.application)}&seconds=60`));
  if (!found) return;
  state.traffic = found;
  drawShares();
  draw("traffic", view.traffic(found, state.application), (all) => all.length ? all.map(trafficCard) : [empty("No request has passed yet.")]);
}

// --- deciding ----------------------------------------------------------------------

async function act(button, what, work) {
  button.disabled = true;
  const name = `${what} was refused`;
  await attempt(name, work);
  button.disabled = false;
  // A refusal is shown for a while, not until the same is tried again.
  if (state.failed.has(name)) setTimeout(() => { state.failed.delete(name); trouble(); }, 10000);
  refresh();
}

function dialog(title, text, fields, yes) {
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  $("ask-yes").textContent = yes;
  const inputs = fields.map((f) => f.options?.length
    ? el("select", { name: f.name, required: f.required }, ...f.options.map((o) => el("option", { value: o, selected: o === f.value }, o)))
    : el("input", { name: f.name, value: f.value ?? "", required: f.required, autocomplete: "off" }));
  $("ask-fields").replaceChildren(...fields.map((f, i) => el("label", {}, f.label, inputs[i])));
  const box = $("ask");
  box.returnValue = "";
  box.showModal();
  return new Promise((done) => {
    box.addEventListener("close", () => {
      done(box.returnValue === "yes" ? Object.fromEntries(inputs.map((i) => [i.name, i.value]).filter(([, v]) => v !== "")) : null);
    }, { once: true });
  });
}

// --- keeping up ------------------------------------------------------------------------

let waiting = null;
function refresh() {
  waiting ??= setTimeout(async () => {
    waiting = null;
    await Promise.all([readExecutions(), readClusters()]);
  }, 150);
}

function listen() {
  const events = new EventSource("/live");
  const seen = (event) => { state.live = true; link("live", "Live"); return event; };
  events.addEventListener("open", seen);
  for (const kind of ["snapshot", "execution", "reset"]) events.addEventListener(kind, (e) => { seen(e); refresh(); });
  events.addEventListener("error", () => {
    state.live = false;
    link(state.failed.size ? "down" : "polling", state.failed.size ? "Disconnected, trying again" : "Polling, trying to go live");
    if (events.readyState === EventSource.CLOSED) setTimeout(listen, 3000);
  });
}

// Repeats `work` with a pause after each time, and rests while nobody looks.
function every(pause, work) {
  const turn = async () => {
    if (!document.hidden) await work();
    setTimeout(turn, pause());
  };
  turn();
}

async function readApplications() {
  const list = await attempt("Applications", () => ask("/applications"));
  if (!list) return;
  const wanted = state.application || new URLSearchParams(location.search).get("application");
  const chosen = view.defaultApplication(list, wanted);
  draw("application", list.map((a) => a.name), (names) => names.length ? names.map((n) => el("option", { value: n }, n)) : [el("option", { value: "" }, "none yet")]);
  $("application").value = chosen;
  if (chosen !== state.application) choose(chosen);
}

function choose(application) {
  Object.assign(state, { application, clusters: [], traffic: null });
  for (const id of ["executions", "pipelines", "clusters", "traffic"]) state.drawn.delete(id);
  if (!application) draw("executions", [], () => [empty("There is no application yet. Save one with POST /tasks, or start with --demo.")]);
  readPipelines(); readExecutions(); readClusters(); readTraffic();
}

function tick() {
  for (const node of document.querySelectorAll(".timer")) {
    const to = Number(node.dataset.to) || Date.now();
    node.textContent = view.span(to - Number(node.dataset.from));
  }
  for (const node of document.querySelectorAll(".ago")) node.textContent = ` · ${view.ago(Number(node.dataset.at), Date.now())}`;
  trouble();
}

$("application").addEventListener("change", (event) => {
  const url = new URL(location.href);
  url.searchParams.set("application", event.target.value);
  history.replaceState(null, "", url);
  choose(event.target.value);
});
$("ask-no").addEventListener("click", () => $("ask").close());
$("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", document.documentElement.dataset.theme); } catch { /* private window */ }
});
try {
  const theme = localStorage.getItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch { /* private window */ }

every(() => 10000, readApplications);
every(() => EVERY.clusters, readClusters);
every(() => EVERY.traffic, readTraffic);
every(() => 10000, readPipelines);
every(() => (state.live ? EVERY.executions : EVERY.fallback), readExecutions);
setInterval(tick, 1000);
attempt("Version", async () => { $("version").textContent = (await ask("/version")).version; })
  // Only now: /auth/user needs no login, so a browser sends its password there once it was asked for elsewhere.
  .then(() => attempt("User", async () => {
    const user = await ask("/auth/user");
    $("user").hidden = !user;
    if (!user) return;
    $("user").textContent = user.username;
    $("user").title = user.roles.length ? `Roles: ${user.roles.join(", ")}` : "No roles";
  }));
listen();
