// What the page shows, computed from what the REST interface answers: pure, no DOM.

const TONES = {
  SUCCEEDED: ["good", "✓", "succeeded"], SKIPPED: ["off", "↷", "skipped"],
  RUNNING: ["busy", "▶", "running"], NOT_STARTED: ["off", "·", "not started"],
  PAUSED: ["wait", "❚❚", "paused"], SUSPENDED: ["wait", "❚❚", "suspended"], BUFFERED: ["wait", "…", "waiting"],
  TERMINAL: ["bad", "✕", "failed"], FAILED_CONTINUE: ["bad", "!", "failed, went on"],
  STOPPED: ["bad", "■", "stopped"], CANCELED: ["bad", "⊘", "cancelled"],
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

// What the system says beside the cause: a closed notice hides the earlier ones of its group.
function noticesOf(e, cause) {
  const last = new Map((e.systemNotifications ?? []).map((n) => [n.group, n]));
  const open = [...last.values()].filter((n) => !n.closed && typeof n.message === "string");
  return open.map((n) => n.message).filter((message) => !cause?.includes(message));
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
    notices: noticesOf(e, cause),
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

// What the balancer measured of one application's server groups: a bar a second,
// the rate and latency of the last whole seconds, sums over all of them.
// `-` stands for requests that no group answered.
export function traffic(answer, application) {
  const ours = (name) => name === "-" || !application || name.split("-")[0].toLowerCase() === application.toLowerCase();
  const live = new Map();
  for (const i of answer?.live?.instances ?? []) {
    live.set(i.serverGroup, (live.get(i.serverGroup) ?? 0) + (i.requests ?? 0) + (i.tunnels ?? 0));
  }
  const groups = new Map([...live.keys()].map((name) => [name, []]));
  for (const one of answer?.history?.series ?? []) {
    // A group behind two load balancers has two series of the same seconds.
    const before = groups.get(one.group) ?? [];
    const length = Math.max(before.length, one.seconds.length);
    const at = (list, i) => list[list.length - length + i] ?? {};
    const add = (i, key) => (at(before, i)[key] ?? 0) + (at(one.seconds, i)[key] ?? 0);
    groups.set(one.group, Array.from({ length }, (_, i) => {
      const sums = Object.fromEntries(["ok", "clientError", "serverError", "ownError", "retries", "inFlight"].map((k) => [k, add(i, k)]));
      return { ...sums, p50Us: Math.max(at(before, i).p50Us ?? 0, at(one.seconds, i).p50Us ?? 0), p99Us: Math.max(at(before, i).p99Us ?? 0, at(one.seconds, i).p99Us ?? 0) };
    }));
  }
  const all = (s) => s.ok + s.clientError + s.serverError + s.ownError;
  return [...groups].filter(([name]) => ours(name)).map(([name, seconds]) => {
    const sum = (key) => seconds.reduce((n, s) => n + s[key], 0);
    // The second that runs now is not over.
    const recent = seconds.slice(-6, -1);
    const most = (key) => Math.max(0, ...recent.map((s) => s[key]));
    return {
      name, bars: seconds.map((s) => ({ ok: s.ok + s.clientError, ko: s.serverError + s.ownError })),
      rate: recent.length ? recent.reduce((n, s) => n + all(s), 0) / recent.length : 0,
      p50: most("p50Us") / 1000, p99: most("p99Us") / 1000,
      inFlight: live.get(name) ?? seconds.at(-1)?.inFlight ?? 0,
      ok: sum("ok"), clientError: sum("clientError"), serverError: sum("serverError"), ownError: sum("ownError"), retries: sum("retries"),
    };
  }).filter((g) => g.name !== "-" || g.ownError > 0).sort((x, y) => y.rate - x.rate || x.name.localeCompare(y.name));
}

// Seconds over which a share is measured: of a few requests it would jump from 0 to 100 %.
const SHARE_OVER = 5;

// The group's number, so that a version keeps its color while others come and go.
const colorOf = (group) => Number(/-v(\d+)$/.exec(group.name)?.[1] ?? 0) % 6;

// What share of its load balancers' requests each version of a cluster got: for each load balancer the
// versions, newest first, and for each second their shares in this order, measured over the last few; null
// where nothing was sent. `now` is a version's last share, `ageS` how many seconds ago that was.
export function shares(cluster, answer) {
  const series = answer?.history?.series ?? [];
  const length = Math.max(0, ...series.map((one) => one.seconds.length));
  const at = (one, i, key) => one.seconds[i - length + one.seconds.length]?.[key] ?? 0;
  const own = new Map(cluster.groups.map((g) => [g.name, g]));
  const balancers = [...new Set(series.filter((one) => own.has(one.group)).map((one) => one.loadBalancer))].sort();
  return balancers.map((loadBalancer) => {
    const of = series.filter((one) => one.loadBalancer === loadBalancer);
    // Groups of others behind the same load balancer are not told; what is missing to the whole is theirs.
    const total = Array.from({ length }, (_, i) => {
      const sum = (key) => of.reduce((n, one) => n + at(one, i, key), 0);
      const share = sum("share");
      return share ? (sum("sent") * 1000) / share : 0;
    });
    const versions = new Map();
    for (const one of of.filter((s) => own.has(s.group))) {
      const group = own.get(one.group);
      const sent = Array.from({ length }, (_, i) => at(one, i, "sent"));
      if (group.disabled && !sent.some(Boolean)) continue;
      const before = versions.get(group.version);
      versions.set(group.version, {
        created: Math.max(before?.created ?? 0, group.created ?? 0), color: before?.color ?? colorOf(group),
        sent: sent.map((n, i) => n + (before?.sent[i] ?? 0)),
      });
    }
    const list = [...versions].sort((a, b) => b[1].created - a[1].created || b[0].localeCompare(a[0]));
    const over = (numbers, i) => numbers.slice(Math.max(0, i - SHARE_OVER + 1), i + 1).reduce((n, m) => n + m, 0);
    const seconds = total.map((n, i) => (n ? list.map(([, v]) => over(v.sent, i) / over(total, i)) : null));
    const last = seconds.findLastIndex(Boolean);
    return {
      loadBalancer, seconds, ageS: last < 0 ? null : length - 1 - last,
      versions: list.map(([version, { color }], n) => ({ version, color, now: seconds[last]?.[n] ?? null })),
    };
  });
}

export function percent(share) {
  if (share > 0 && share < 0.005) return "<1 %";
  if (share < 1 && share > 0.995) return ">99 %";
  return `${Math.round(share * 100)} %`;
}

export const millis = (ms) => (ms <= 0 ? "–" : ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`);

export function defaultApplication(applications, wanted) {
  const names = applications.map((a) => a.name);
  if (names.includes(wanted)) return wanted;
  return applications.find((a) => a.accounts)?.name ?? names[0] ?? "";
}
