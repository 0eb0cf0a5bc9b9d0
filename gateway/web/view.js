// What the page shows, computed from what the REST interface answers: pure, no DOM.

const TONES = {
  SUCCEEDED: ["good", "✓", "succeeded"], SKIPPED: ["off", "↷", "skipped"],
  RUNNING: ["busy", "▶", "running"], NOT_STARTED: ["off", "·", "not started"],
  PAUSED: ["wait", "❚❚", "paused"], SUSPENDED: ["wait", "❚❚", "suspended"], BUFFERED: ["wait", "…", "waiting"],
  TERMINAL: ["bad", "✕", "failed"], FAILED_CONTINUE: ["bad", "!", "failed, went on"],
  STOPPED: ["bad", "■", "stopped"], CANCELED: ["bad", "⦸", "cancelled"],
};
const HEALTH = {
  Up: ["good", "✓"], Starting: ["busy", "◌"], Draining: ["wait", "⤓"], Down: ["bad", "✕"],
  OutOfService: ["off", "–"], Failed: ["bad", "✕"], Succeeded: ["good", "✓"], Unknown: ["off", "?"],
};
const OPEN = new Set(["RUNNING", "PAUSED", "SUSPENDED", "NOT_STARTED", "BUFFERED"]);

export const isOpen = (status) => OPEN.has(status);

export function tone(status) {
  const [kind, icon, text] = TONES[status] ?? ["off", "?", String(status ?? "unknown").toLowerCase()];
  return { kind, icon, text };
}

export function health(state) {
  const [kind, icon] = HEALTH[state] ?? ["off", "?"];
  return { kind, icon, text: state ?? "Unknown" };
}

export function span(ms) {
  if (!Number.isFinite(ms) || ms < 0) return "";
  const s = Math.round(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} m ${s % 60} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} m`;
  return `${Math.floor(s / 86400)} d`;
}

export const ago = (at, now) => (at ? `${span(now - at)} ago` : "");

function causeOf(stage) {
  const details = stage.context?.exception?.details ?? {};
  const said = [...(details.errors ?? []), details.error, details.responseBody].filter((t) => typeof t === "string" && t);
  return said[0] ?? null;
}

function judgmentOf(stage, status) {
  if (stage.type !== "manualJudgment" || stage.status !== "RUNNING" || status !== "RUNNING") return null;
  const inputs = (stage.context?.judgmentInputs ?? []).map((i) => (typeof i === "string" ? i : i?.value)).filter(Boolean);
  return { stageId: stage.id, name: stage.name ?? "Judgment", instructions: stage.context?.instructions ?? "", inputs };
}

// Stages in the order in which they can run.
function ordered(stages) {
  const top = stages.filter((s) => !s.parentStageId);
  const depth = new Map();
  const byRef = new Map(top.map((s) => [s.refId, s]));
  const of = (stage, seen = new Set()) => {
    if (depth.has(stage.refId)) return depth.get(stage.refId);
    if (seen.has(stage.refId)) return 0;
    seen.add(stage.refId);
    const before = (stage.requisiteStageRefIds ?? []).map((r) => byRef.get(r)).filter(Boolean);
    const found = before.length ? 1 + Math.max(...before.map((b) => of(b, seen))) : 0;
    depth.set(stage.refId, found);
    return found;
  };
  return top.map((s, i) => [of(s), i, s]).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map((e) => e[2]);
}

export function execution(e) {
  const all = e.stages ?? [];
  const waits = { kind: "wait", icon: "?", text: "waits for a decision" };
  const stages = ordered(all).map((stage) => ({
    id: stage.id, name: stage.name ?? stage.type, status: stage.status,
    ...(judgmentOf(stage, e.status) ? waits : tone(stage.status)),
    start: stage.startTime, end: stage.endTime,
  }));
  const failed = all.filter((s) => s.status === "TERMINAL" || s.status === "FAILED_CONTINUE");
  const cause = failed.map(causeOf).find(Boolean)
    ?? (isOpen(e.status) ? null : e.cancellationReason)
    ?? (e.status === "TERMINAL" ? all.map(causeOf).find(Boolean) : null) ?? null;
  const t = e.trigger ?? {};
  const by = t.type === "docker" ? `image ${t.repository ?? ""}:${t.tag ?? ""}` : t.user ? `${t.type ?? "manual"} by ${t.user}` : t.type ?? "";
  return {
    id: e.id, name: e.name ?? e.description ?? "Execution", status: e.status, ...tone(e.status), by,
    open: isOpen(e.status), built: e.buildTime, start: e.startTime ?? e.buildTime, end: e.endTime, stages, cause,
    judgments: all.map((s) => judgmentOf(s, e.status)).filter(Boolean),
  };
}

export function executions(list) {
  const seen = list.map(execution).sort((a, b) => Number(b.open) - Number(a.open) || (b.built ?? 0) - (a.built ?? 0));
  const open = seen.filter((e) => e.open);
  return [...open, ...seen.filter((e) => !e.open).slice(0, Math.max(4, 8 - open.length))];
}

export function versionOf(group) {
  const docker = group.buildInfo?.docker ?? {};
  return String(docker.tag ?? group.buildInfo?.version ?? (group.buildInfo?.images ?? [])[0] ?? "unknown");
}

export function clusters(groups, balancers) {
  const found = new Map();
  for (const g of groups) {
    const key = `${g.account}/${g.cluster}`;
    if (!found.has(key)) found.set(key, { key, account: g.account, cluster: g.cluster, groups: [] });
    found.get(key).groups.push({
      name: g.name, region: g.region, version: versionOf(g), digest: g.buildInfo?.docker?.digest ?? g.imageDigest ?? "",
      disabled: Boolean(g.isDisabled ?? g.disabled), created: g.createdTime, desired: g.capacity?.desired,
      up: g.instanceCounts?.up ?? 0, total: g.instanceCounts?.total ?? (g.instances ?? []).length,
      weight: g.weightEffective ?? g.weight,
      instances: (g.instances ?? []).map((i) => ({ id: i.id ?? i.name, zone: i.availabilityZone ?? i.zone ?? "", inFlight: i.inFlight, ...health(i.healthState) })),
    });
  }
  const list = [...found.values()];
  for (const c of list) {
    c.groups.sort((a, b) => (b.created ?? 0) - (a.created ?? 0) || b.name.localeCompare(a.name));
    const active = c.groups.filter((g) => !g.disabled);
    const up = active.reduce((n, g) => n + g.up, 0), total = active.reduce((n, g) => n + g.total, 0);
    c.health = !active.length ? { kind: "off", icon: "–", text: "disabled" }
      : up === total && total > 0 ? { kind: "good", icon: "✓", text: `${up} of ${total} up` }
      : { kind: up ? "wait" : "bad", icon: up ? "!" : "✕", text: `${up} of ${total} up` };
    const names = new Set(groups.filter((g) => g.cluster === c.cluster && g.account === c.account).flatMap((g) => g.loadBalancers ?? []));
    c.addresses = balancers.filter((b) => names.has(b.name) && b.account === c.account)
      .map((b) => ({ name: b.name, host: b.host ?? "", port: b.port, path: b.path ?? "" }));
  }
  const rank = (c) => (/prod/i.test(c.account) ? 2 : /stag|test|dev/i.test(c.account) ? 0 : 1);
  return list.sort((a, b) => rank(a) - rank(b) || a.key.localeCompare(b.key));
}

const number = (...values) => values.map(Number).find(Number.isFinite) ?? 0;

// One second of one server group, whatever the parts are called.
function second(g) {
  const classes = g.classes ?? g.statuses ?? g.status ?? g;
  const of = (n) => number(classes[`${n}xx`], classes[`status${n}xx`], classes[String(n)], 0);
  const counts = [1, 2, 3, 4, 5].map(of);
  return {
    requests: number(g.requests, g.count, counts.reduce((a, b) => a + b, 0)), c2: of(2), c3: of(3), c4: of(4), c5: of(5),
    p99: number(g.p99Ms, g.p99_ms, g.latencyP99Ms, g.p99, NaN) || null,
    retries: number(g.retries, 0), inFlight: number(g.inFlight, g.inflight, NaN),
    failed: number(g.byBalancer, g.balancerErrors, g.noInstance, 0),
  };
}

export function traffic(answer) {
  const history = answer?.history ?? answer ?? {};
  const entries = Array.isArray(history) ? history : history.seconds ?? history.entries ?? [];
  const groups = new Map();
  const at = (name) => {
    if (!groups.has(name)) groups.set(name, { name, seconds: [] });
    return groups.get(name);
  };
  entries.forEach((entry, index) => {
    const of = entry.groups ?? entry.serverGroups ?? {};
    const pairs = Array.isArray(of) ? of.map((g) => [g.serverGroup ?? g.group ?? g.name, g]) : Object.entries(of);
    for (const [name, g] of pairs) at(name).seconds.push({ index, ...second(g) });
  });
  const live = new Map();
  for (const i of answer?.live?.instances ?? []) {
    live.set(i.serverGroup, (live.get(i.serverGroup) ?? 0) + number(i.requests, 0) + number(i.tunnels, 0));
    at(i.serverGroup);
  }
  const length = Math.max(entries.length, 1);
  return [...groups.values()].map((g) => {
    const bars = Array.from({ length }, () => ({ ok: 0, ko: 0 }));
    for (const s of g.seconds) bars[s.index] = { ok: Math.max(0, s.requests - s.c5), ko: s.c5 };
    const sum = (key) => g.seconds.reduce((n, s) => n + s[key], 0);
    // The second that runs now is not over: the rate is that of the five before it.
    const recent = g.seconds.filter((s) => s.index >= length - 6 && s.index < length - 1);
    const rate = recent.length ? recent.reduce((n, s) => n + s.requests, 0) / 5 : 0;
    const p99 = Math.max(0, ...recent.map((s) => s.p99 ?? 0));
    return {
      name: g.name, bars, rate, p99: p99 || null, inFlight: live.get(g.name) ?? 0,
      c2: sum("c2"), c3: sum("c3"), c4: sum("c4"), c5: sum("c5"), retries: sum("retries"),
    };
  }).sort((a, b) => b.rate - a.rate || a.name.localeCompare(b.name));
}

export function defaultApplication(applications, wanted) {
  const names = applications.map((a) => a.name);
  if (names.includes(wanted)) return wanted;
  return applications.find((a) => a.accounts)?.name ?? names[0] ?? "";
}
