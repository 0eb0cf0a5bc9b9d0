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
