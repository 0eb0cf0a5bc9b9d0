// `node --test gateway/web/`: what the page computes, without a browser.
import assert from "node:assert/strict";
import test from "node:test";
import * as view from "./view.js";

const stage = (refId, status, more = {}) => ({ id: `s${refId}`, refId, type: "wait", name: refId, status, ...more });

test("stages are shown in the order in which they can run, synthetic ones left out", () => {
  const e = view.execution({ id: "1", status: "RUNNING", stages: [
    stage("c", "NOT_STARTED", { requisiteStageRefIds: ["b"] }),
    stage("b", "RUNNING", { requisiteStageRefIds: ["a"] }),
    stage("b<1", "RUNNING", { parentStageId: "sb" }),
    stage("a", "SUCCEEDED"),
  ] });
  assert.deepEqual(e.stages.map((s) => s.name), ["a", "b", "c"]);
  assert.equal(e.open, true);
});

test("a cycle of stages does not hang the page", () => {
  const e = view.execution({ status: "TERMINAL", stages: [
    stage("a", "NOT_STARTED", { requisiteStageRefIds: ["b"] }), stage("b", "NOT_STARTED", { requisiteStageRefIds: ["a"] }),
  ] });
  assert.equal(e.stages.length, 2);
});

test("a judgment is asked for only while it can be given", () => {
  const judged = (status, of) => view.execution({ status: of, stages: [
    stage("1", status, { type: "manualJudgment", context: { judgmentInputs: [{ value: "x" }, "y"] } }),
  ] });
  assert.deepEqual(judged("RUNNING", "RUNNING").judgments[0].inputs, ["x", "y"]);
  assert.equal(judged("RUNNING", "RUNNING").stages[0].text, "waits for a decision");
  assert.equal(judged("SUCCEEDED", "RUNNING").judgments.length, 0);
  assert.equal(judged("RUNNING", "CANCELED").judgments.length, 0);
});

test("notices are shown once, unless they are the cause or closed", () => {
  const say = (group, message, closed) => ({ group, message, closed });
  const of = (systemNotifications, more = {}) => view.execution({ status: "RUNNING", stages: [], systemNotifications, ...more }).notices;
  assert.deepEqual(of([say("store", "lost", false), say("store", "lost", false)]), ["lost"]);
  assert.deepEqual(of([say("store", "lost", false), say("store", "lost", true)]), []);
  assert.deepEqual(of([say("start", "no stage", false)], { status: "TERMINAL", cancellationReason: "Failed on startup: no stage" }), []);
  assert.deepEqual(of(undefined), []);
});

test("the cause of a failure is the failed stage's, else the reason of the cancellation", () => {
  const failed = stage("1", "TERMINAL", { context: { exception: { details: { errors: ["no port"] } } } });
  assert.equal(view.execution({ status: "TERMINAL", stages: [failed] }).cause, "no port");
  assert.equal(view.execution({ status: "CANCELED", cancellationReason: "enough", stages: [] }).cause, "enough");
  assert.equal(view.execution({ status: "SUCCEEDED", stages: [] }).cause, null);
});

test("open executions come first and finished ones are few", () => {
  const list = Array.from({ length: 30 }, (_, i) => ({ id: String(i), status: i === 7 ? "PAUSED" : "SUCCEEDED", buildTime: i, stages: [] }));
  const shown = view.executions(list);
  assert.equal(shown[0].id, "7");
  assert.equal(shown[1].id, "29");
  assert.equal(shown.length, 8);
});

test("clusters are staging first, with the health of what serves", () => {
  const group = (account, name, isDisabled, up) => ({ account, cluster: `shop-${account}`, name, isDisabled,
    createdTime: 1, instanceCounts: { up, total: 3 }, instances: [], loadBalancers: ["lb"], buildInfo: { docker: { tag: "2" } } });
  const found = view.clusters(
    [group("prod", "shop-prod-v000", false, 3), group("staging", "shop-staging-v000", true, 0), group("staging", "shop-staging-v001", false, 2)],
    [{ name: "lb", account: "prod", host: "h", port: 1 }]);
  assert.deepEqual(found.map((c) => [c.account, c.health.kind]), [["staging", "wait"], ["prod", "good"]]);
  assert.deepEqual(found[0].groups.map((g) => g.name), ["shop-staging-v001", "shop-staging-v000"]);
  assert.equal(found[1].addresses[0].host, "h");
  assert.equal(found[1].groups[0].version, "2");
});

test("traffic has a bar a second, classes, and the rate of whole seconds", () => {
  const second = (i) => ({ ok: 8, clientError: 1, serverError: 1, ownError: 0, retries: 0, p50Us: 900, p99Us: 5000 + 1000 * i, inFlight: 4 });
  const seconds = Array.from({ length: 10 }, (_, i) => second(i));
  const none = { group: "-", seconds: [{ ...second(0), ok: 0, clientError: 0, serverError: 0, ownError: 2 }] };
  const answer = { live: { instances: [{ serverGroup: "shop-a", requests: 2, tunnels: 1 }] },
    history: { untilS: 1, series: [{ group: "shop-a", seconds }, none, { group: "other-a", seconds }] } };
  const [g, rest, ...more] = view.traffic(answer, "Shop");
  assert.equal(g.bars.length, 10);
  assert.deepEqual([g.name, g.rate, g.ok, g.clientError, g.serverError, g.inFlight, g.p99], ["shop-a", 10, 80, 10, 10, 3, 13]);
  assert.deepEqual([rest.name, rest.ownError, more.length], ["-", 2, 0]);
  assert.deepEqual(view.traffic(null, "shop"), []);
});

test("a group behind two load balancers is shown once", () => {
  const one = (ok) => ({ ok, clientError: 0, serverError: 0, ownError: 0, retries: 0, p50Us: 1, p99Us: ok, inFlight: 0 });
  const series = [{ group: "shop-a", seconds: [one(1), one(2)] }, { group: "shop-a", seconds: [one(5)] }];
  const [g] = view.traffic({ history: { series } }, "shop");
  assert.deepEqual(g.bars.map((b) => b.ok), [1, 7]);
});

const second = (sent, share) => ({ sent, share });
const series = (group, seconds, loadBalancer = "lb") => ({ group, loadBalancer, seconds });
const clusterOf = (...groups) => ({ groups: groups.map(([name, version, more]) => ({ name, version, disabled: false, created: Number(name.slice(-3)), ...more })) });
const near = (value, wanted) => assert.ok(Math.abs(value - wanted) < 0.005, `${value} is not about ${wanted}`);

test("each version's share of its load balancer's requests, newest first", () => {
  const canary = clusterOf(["shop-v000", "1"], ["shop-v001", "2"]);
  const seconds = (...sent) => sent.map(([n, all]) => second(n, Math.round((1000 * n) / all)));
  const [lb, ...more] = view.shares(canary, { history: { series: [
    series("shop-v000", seconds([91, 100], [88, 100], [181, 200])), series("shop-v001", seconds([9, 100], [12, 100], [19, 200])),
    series("-", seconds([0, 1], [0, 1], [0, 1])), series("other-v000", seconds([7, 7], [7, 7], [7, 7]), "another"),
  ] } });
  assert.equal(more.length, 0);
  assert.deepEqual([lb.loadBalancer, lb.ageS, lb.seconds.length], ["lb", 0, 3]);
  assert.deepEqual(lb.versions.map((v) => [v.version, v.color, view.percent(v.now)]), [["2", 1, "10 %"], ["1", 0, "90 %"]]);
  for (const [i, share] of [0.09, 0.105, 0.1].entries()) {
    near(lb.seconds[i][0], share);
    near(lb.seconds[i][1], 1 - share);
  }
});

test("a second in which nothing was sent has no share, and the last one known is told with its age", () => {
  const two = clusterOf(["shop-v000", "1"], ["shop-v001", "2"]);
  const idle = second(0, 0), after = (n, ...first) => [...first, ...Array.from({ length: n }, () => idle)];
  const [lb] = view.shares(two, { history: { series: [
    series("shop-v000", after(9, second(3, 750))), series("shop-v001", after(9, second(1, 250)))] } });
  assert.deepEqual(lb.seconds, [[0.25, 0.75], ...Array(9).fill(null)]);
  assert.deepEqual([lb.ageS, ...lb.versions.map((v) => view.percent(v.now))], [9, "25 %", "75 %"]);
  const [none] = view.shares(two, { history: { series: [series("shop-v000", after(3)), series("shop-v001", after(3))] } });
  assert.deepEqual([none.seconds, none.ageS, none.versions.map((v) => v.now)], [[null, null, null], null, [null, null]]);
  // A balancer of before has no such figures.
  const [old] = view.shares(two, { history: { series: [series("shop-v000", [{ ok: 9 }])] } });
  assert.deepEqual([old.seconds, old.versions.map((v) => v.now)], [[null], [null]]);
  for (const answer of [null, {}, { history: {} }, { history: { series: [] } }]) assert.deepEqual(view.shares(two, answer), []);
});

test("a share is measured over five seconds and no longer", () => {
  const two = clusterOf(["shop-v000", "1"], ["shop-v001", "2"]);
  const once = (n) => Array.from({ length: 7 }, (_, i) => second(Number(i === n), 1000 * (i === n)));
  const [lb] = view.shares(two, { history: { series: [series("shop-v000", once(0)),
    series("shop-v001", Array.from({ length: 7 }, (_, i) => second(Number(i > 0), 1000 * (i > 0))))] } });
  assert.deepEqual(lb.seconds.map(([canary]) => canary), [0, 1 / 2, 2 / 3, 3 / 4, 4 / 5, 1, 1]);
});

test("groups of one version are one, the rest of a shared load balancer is nobody's here", () => {
  const cluster = clusterOf(["shop-v003", "1"], ["shop-v004", "1"], ["shop-v008", "2", { disabled: true }]);
  const [a, b] = view.shares(cluster, { history: { series: [
    series("shop-v003", [second(1, 100)], "b"), series("shop-v003", [second(2, 200)], "a"),
    series("shop-v004", [second(3, 300)], "a"), series("shop-v008", [second(0, 0)], "a"),
  ] } });
  assert.deepEqual([a.loadBalancer, b.loadBalancer], ["a", "b"]);
  assert.deepEqual(a.versions, [{ version: "1", color: 3, now: 0.5 }]);
  assert.deepEqual(b.seconds, [[0.1]]);
});

test("shares that are not whole are not told as whole", () => {
  assert.deepEqual([0, 0.001, 0.1, 0.9951, 1].map(view.percent), ["0 %", "<1 %", "10 %", ">99 %", "100 %"]);
});

test("the application is the wanted one, else one that runs somewhere", () => {
  const list = [{ name: "a" }, { name: "b", accounts: "prod" }];
  assert.equal(view.defaultApplication(list, "a"), "a");
  assert.equal(view.defaultApplication(list, "none"), "b");
  assert.equal(view.defaultApplication([], "a"), "");
});

test("durations are short", () => {
  assert.deepEqual([500, 61000, 3660000, 90000000].map(view.span), ["1 s", "1 m 1 s", "1 h 1 m", "1 d"]);
  assert.equal(view.span(NaN), "");
});
