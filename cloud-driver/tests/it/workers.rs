//! Groups behind no load balancer: workers that take jobs from a queue, deployed while jobs flow.
//!
//! The queue gives out nothing twice by itself, so a job that a worker drops is lost, and seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proto::cloud_driver::v1::{Operation, OperationState};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::queue::{Queue, Tally};
use crate::world::{World, eventually};

/// Jobs that come all the time.
struct Flow {
    queue: Arc<Queue>,
    stop: Arc<AtomicBool>,
    pushing: JoinHandle<()>,
}

impl Flow {
    fn of(queue: &Arc<Queue>) -> Self {
        let (stop, queue) = (Arc::new(AtomicBool::new(false)), queue.clone());
        let pushing = tokio::spawn({
            let (stop, queue) = (stop.clone(), queue.clone());
            async move {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number += 1;
                    // Short ones and ones that outlast every look.
                    queue.push(if number % 8 == 0 { 700 } else { 40 });
                    tokio::time::sleep(Duration::from_millis(30)).await;
                }
            }
        });
        Self {
            queue,
            stop,
            pushing,
        }
    }

    /// Ends the flow; what became of all jobs.
    async fn end(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        self.pushing.await.unwrap();
        self.queue.settle(Duration::from_secs(10)).await
    }
}

/// No job was lost or done twice, and every one of these groups did some.
fn whole(tally: &Tally, groups: &[&str]) {
    assert_eq!(
        (&tally.lost[..], &tally.twice[..]),
        (&[][..], &[][..]),
        "{tally:?}"
    );
    for group in groups {
        let some = tally.by.keys().any(|worker| worker.starts_with(group));
        assert!(some, "{group} did nothing: {tally:?}");
    }
}

/// How the workers of a test are drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Hook,
    /// SIGTERM alone: they listen nowhere and end when they have nothing left.
    Signal,
    /// Nothing: nobody told how.
    Nothing,
}

impl By {
    fn image(self, world: &World, queue: &Queue, tag: &str, more: &[(&str, &str)]) -> String {
        let queue = queue.address.to_string();
        let mut variables = vec![("QUEUE", queue.as_str()), ("CONCURRENCY", "4")];
        if self == Self::Signal {
            variables.extend([("DRAIN_SIGNAL", "TERM"), ("LISTEN", "0")]);
        }
        variables.extend(more);
        world.image_of("demo-worker", tag, &variables)
    }

    fn create(self, image: &str) -> Value {
        let mut input = json!({
            "application": "shop", "imageId": image, "capacity": {"desired": 3},
            "loadBalancers": [],
        });
        match self {
            Self::Hook => {
                input["drain"] = json!({"path": "/drain"});
                input["healthCheck"] = json!({"path": "/health"});
            }
            Self::Signal => input["drain"] = json!({"signal": "SIGTERM"}),
            Self::Nothing => {}
        }
        input
    }
}

async fn up(slots: u32, by: By) -> (World, Arc<Queue>) {
    let world = World::with_slots(slots);
    let queue = Arc::new(Queue::start().await);
    for tag in ["w1", "w2"] {
        by.image(&world, &queue, tag, &[]);
    }
    world
        .succeed("createServerGroup", by.create("test/demo:w1"))
        .await;
    (world, queue)
}

fn named(name: &str) -> Value {
    json!({"serverGroupName": name})
}

/// Waits until three of a group are up: on a machine with much to do a probe may fail at any time.
async fn three_up(world: &World, group: &str) {
    eventually("three are up", Duration::from_secs(60), async || {
        let up = world.up_instances(group).await;
        if up.len() == 3 { Ok(()) } else { Err(up) }
    })
    .await;
}

async fn is_disabled(world: &World, name: &str) -> bool {
    world.server_group(name).await.unwrap()["isDisabled"] == true
}

fn history(operation: &Operation) -> String {
    let lines = operation.history.iter().map(|line| format!("{line:?}"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The new group beside the old one, the old one out of work, back, and the new one away.
async fn red_black_and_back(by: By) {
    let (world, queue) = up(2, by).await;
    let flow = Flow::of(&queue);
    world
        .succeed("createServerGroup", by.create("test/demo:w2"))
        .await;
    world
        .succeed("disableServerGroup", named("shop-v000"))
        .await;
    assert!(is_disabled(&world, "shop-v000").await);
    three_up(&world, "shop-v001").await;
    assert!(world.up_instances("shop-v000").await.is_empty());
    let before = queue.settle(Duration::ZERO).await.by;
    // Only the new one works now.
    for _ in 0..12 {
        let who = queue.done(queue.push(1)).await;
        assert!(who.starts_with("shop-v001"), "{who}");
    }
    assert!(before.keys().any(|who| who.starts_with("shop-v000")));

    world.succeed("enableServerGroup", named("shop-v000")).await;
    three_up(&world, "shop-v000").await;
    world
        .succeed("disableServerGroup", named("shop-v001"))
        .await;
    let who = queue.done(queue.push(1)).await;
    assert!(who.starts_with("shop-v000"), "{who}");
    world
        .succeed("destroyServerGroup", named("shop-v001"))
        .await;
    whole(&flow.end().await, &["shop-v000", "shop-v001"]);
    assert_eq!(world.processes("demo-worker").len(), 3);
}

#[tokio::test]
async fn no_job_is_lost_or_done_twice_in_red_black_and_its_rollback_by_a_hook() {
    red_black_and_back(By::Hook).await;
}

#[tokio::test]
async fn no_job_is_lost_or_done_twice_in_red_black_and_its_rollback_by_a_signal() {
    red_black_and_back(By::Signal).await;
}

/// Slot by slot there, and back to the old group.
async fn in_place_and_back(by: By) {
    let (world, queue) = up(1, by).await;
    let flow = Flow::of(&queue);
    world
        .succeed("replaceInPlace", by.create("test/demo:w2"))
        .await;
    three_up(&world, "shop-v001").await;
    let back = json!({
        "source": {"serverGroupName": "shop-v001"}, "targetServerGroupName": "shop-v000",
    });
    world.succeed("replaceInPlace", back).await;
    three_up(&world, "shop-v000").await;
    whole(&flow.end().await, &["shop-v000", "shop-v001"]);
    assert_eq!(world.processes("demo-worker").len(), 3);
}

#[tokio::test]
async fn no_job_is_lost_or_done_twice_in_place_by_a_hook() {
    in_place_and_back(By::Hook).await;
}

#[tokio::test]
async fn no_job_is_lost_or_done_twice_in_place_by_a_signal() {
    in_place_and_back(By::Signal).await;
}

#[tokio::test]
async fn control_workers_that_nobody_drains_lose_jobs() {
    let (world, queue) = up(1, By::Nothing).await;
    let flow = Flow::of(&queue);
    world
        .succeed("replaceInPlace", By::Nothing.create("test/demo:w2"))
        .await;
    let tally = flow.end().await;
    assert!(!tally.lost.is_empty(), "nothing is lost: {tally:?}");
}

#[tokio::test]
async fn a_worker_that_starts_disabled_takes_nothing_before_it_is_enabled() {
    let (world, queue) = up(2, By::Hook).await;
    let flow = Flow::of(&queue);
    let mut input = By::Hook.create("test/demo:w2");
    input["startDisabled"] = json!(true);
    world.succeed("createServerGroup", input).await;
    let group = world.server_group("shop-v001").await.unwrap();
    assert_eq!(group["instanceCounts"]["outOfService"], 3);
    assert_eq!(group["launchConfig"]["drain"]["path"], "/drain");
    for _ in 0..12 {
        let who = queue.done(queue.push(1)).await;
        assert!(who.starts_with("shop-v000"), "{who}");
    }
    world.succeed("enableServerGroup", named("shop-v001")).await;
    // Smaller and one by one, too.
    let fewer = json!({"serverGroupName": "shop-v000", "capacity": {"desired": 1}});
    world.succeed("resizeServerGroup", fewer).await;
    let victim = world.up_instances("shop-v001").await;
    let victim = victim.iter().next().unwrap();
    world
        .succeed("terminateInstances", json!({"instanceIds": [victim]}))
        .await;
    whole(&flow.end().await, &["shop-v000", "shop-v001"]);
    three_up(&world, "shop-v001").await;
}

#[tokio::test]
async fn a_version_that_fails_is_taken_away_without_a_lost_job_and_the_old_one_is_back() {
    for by in [By::Hook, By::Signal] {
        let (world, queue) = up(1, by).await;
        // It takes jobs, and is never well or dies after a while.
        let sick = [("SICK_FILE", "/proc/self/exe")];
        let image = by.image(&world, &queue, "sick", &sick);
        let mut input = by.create(&image);
        input["startTimeoutSeconds"] = json!(4);
        if by == By::Signal {
            // It listens nowhere, and this asks that it does.
            input["healthCheck"] = json!({"type": "tcp"});
        }
        let flow = Flow::of(&queue);
        let operation = world.perform("replaceInPlace", input).await;
        assert_eq!(operation.state(), OperationState::Failed);
        let whole_again = "everything is as it was before";
        assert!(operation.error.contains(whole_again), "{}", operation.error);
        whole(&flow.end().await, &["shop-v000"]);
        three_up(&world, "shop-v000").await;
        assert_eq!(world.processes("demo-worker").len(), 3);
        assert_eq!(world.server_groups().await.len(), 1);
    }
}

/// Disables a group of one worker that has a held job, in 300 ms; the operation, its id and the job.
async fn overdue(then: &str) -> (World, Arc<Queue>, String, u64) {
    let world = World::up();
    let queue = Arc::new(Queue::start().await);
    By::Hook.image(&world, &queue, "w1", &[]);
    let mut input = By::Hook.create("test/demo:w1");
    input["capacity"] = json!({"desired": 1});
    input["drain"] = json!({"path": "/drain", "timeoutMs": 300, "onDeadline": then});
    world.succeed("createServerGroup", input).await;
    let job = queue.push_held();
    queue.taken(job).await;
    let input = named("shop-v000");
    let operation = world.submit(then, "disableServerGroup", &input).await;
    (world, queue, operation.unwrap().id, job)
}

#[tokio::test]
async fn a_deadline_that_passes_fails_with_the_count_and_the_worker_goes_on() {
    let (world, queue, id, job) = overdue("fail").await;
    let operation = world.ended(&id).await;
    assert_eq!(operation.state(), OperationState::Failed);
    let said = "still had 1 requests in flight";
    assert!(operation.error.contains(said), "{}", operation.error);
    let told = history(&operation);
    assert!(told.contains("still has 1 requests"), "{told}");
    assert!(!is_disabled(&world, "shop-v000").await);
    queue.release(job);
    queue.done(job).await;
    // It was let take work again.
    queue.done(queue.push(1)).await;
}

#[tokio::test]
async fn a_deadline_that_passes_is_told_and_waited_for() {
    let (world, queue, id, job) = overdue("wait").await;
    eventually("it is told", Duration::from_secs(20), async || {
        let told = history(&world.operation(&id).await);
        if told.contains("still has 1 requests") && told.contains("is waited for") {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
    queue.release(job);
    assert_eq!(world.ended(&id).await.state(), OperationState::Succeeded);
    queue.done(job).await;
}

#[tokio::test]
async fn a_deadline_that_passes_stops_the_worker_and_tells_what_is_lost() {
    let (world, queue, id, job) = overdue("stop").await;
    let operation = world.ended(&id).await;
    assert_eq!(
        operation.state(),
        OperationState::Succeeded,
        "{}",
        operation.error
    );
    let told = history(&operation);
    for words in ["still has 1 requests", "Cut 1 requests"] {
        assert_eq!(told.matches(words).count(), 1, "{words}: {told}");
    }
    assert!(world.processes("demo-worker").is_empty());
    assert_eq!(queue.settle(Duration::from_millis(200)).await.lost, [job]);
}

#[tokio::test]
async fn a_hook_that_refuses_is_named_and_a_worker_that_dies_while_it_drains_too() {
    let world = World::up();
    let queue = Arc::new(Queue::start().await);
    By::Hook.image(&world, &queue, "w1", &[]);
    let mut input = By::Hook.create("test/demo:w1");
    input["capacity"] = json!({"desired": 1});
    input["drain"] = json!({"path": "/health", "resume": false, "timeoutMs": 400});
    world.succeed("createServerGroup", input).await;
    let operation = world
        .perform("disableServerGroup", named("shop-v000"))
        .await;
    assert_eq!(operation.state(), OperationState::Failed);
    let said = "POST /health answers 405";
    assert!(operation.error.contains(said), "{}", operation.error);

    let input = json!({"serverGroupName": "shop-v000", "force": true, "onDrainTimeout": "wait"});
    let id = world.submit("die", "destroyServerGroup", &input).await;
    let id = id.unwrap().id;
    eventually("it drains", Duration::from_secs(20), async || {
        let told = history(&world.operation(&id).await);
        if told.contains("is waited for") {
            Ok(())
        } else {
            Err(told)
        }
    })
    .await;
    for pid in world.processes("demo-worker") {
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    let operation = world.ended(&id).await;
    assert_eq!(
        operation.state(),
        OperationState::Succeeded,
        "{}",
        operation.error
    );
    let told = history(&operation);
    assert!(
        told.contains("has ended while it was to drain: signal 9"),
        "{told}"
    );
}

#[tokio::test]
async fn a_worker_that_dies_is_replaced_and_a_disabled_group_starts_nothing() {
    for by in [By::Hook, By::Signal] {
        let (world, queue) = up(1, by).await;
        let before = world.up_instances("shop-v000").await;
        let pid = *world.processes("demo-worker").iter().next().unwrap();
        let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        eventually(
            "another one is there",
            Duration::from_secs(60),
            async || {
                let up = world.up_instances("shop-v000").await;
                let new = up.difference(&before).count();
                if (up.len(), new) == (3, 1) {
                    Ok(())
                } else {
                    Err(up)
                }
            },
        )
        .await;
        world
            .succeed("disableServerGroup", named("shop-v000"))
            .await;
        let same = json!({"serverGroupName": "shop-v000", "capacity": {"desired": 3}});
        world.succeed("resizeServerGroup", same).await;
        // Those that a hook pauses are there and idle; those that a signal ended are cleared away.
        let left = if by == By::Hook { 3 } else { 0 };
        assert_eq!(world.processes("demo-worker").len(), left);
        let job = queue.push(1);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!queue.is_taken(job), "{by:?}");
        world.succeed("enableServerGroup", named("shop-v000")).await;
        queue.done(job).await;
        three_up(&world, "shop-v000").await;
    }
}

/// Performs while the control plane is killed again and again.
async fn under_kills(world: &mut World, kind: &str, input: Value) -> u32 {
    let id = world.submit(kind, kind, &input).await.unwrap().id;
    let begun = Instant::now();
    let mut kills = 0;
    loop {
        let life = 80 + u64::from(kills) * 617 % 1_440;
        tokio::time::sleep(Duration::from_millis(life)).await;
        let operation = world.operation(&id).await;
        if operation.state() != OperationState::Running {
            let told = history(&operation);
            assert_eq!(operation.state(), OperationState::Succeeded, "{told}");
            return kills;
        }
        assert!(begun.elapsed() < Duration::from_secs(300), "does not end");
        if kills < 10 {
            world.crash();
            world.start();
            kills += 1;
        }
    }
}

#[tokio::test]
async fn kills_of_the_control_plane_in_the_middle_of_drains_lose_nothing() {
    for by in [By::Hook, By::Signal] {
        let (mut world, queue) = up(1, by).await;
        let flow = Flow::of(&queue);
        let input = by.create("test/demo:w2");
        let kills = under_kills(&mut world, "replaceInPlace", input).await;
        assert!(kills >= 4, "killed {kills} times only");
        under_kills(&mut world, "disableServerGroup", named("shop-v001")).await;
        under_kills(&mut world, "enableServerGroup", named("shop-v001")).await;
        // A worker that is signalled twice ends at once with what it has.
        whole(&flow.end().await, &["shop-v000", "shop-v001"]);
        assert_eq!(world.processes("demo-worker").len(), 3);
    }
}

#[tokio::test]
async fn what_does_not_fit_is_refused_before_anything_begins() {
    let world = World::up();
    for (more, words) in [
        (json!({"drain": {"signal": "SIGKILL"}}), "drain.signal"),
        (
            json!({"drain": {"path": "/d", "timeout": 1}}),
            "drain.timeout",
        ),
        (
            json!({"drain": {"path": "/d"}, "onDrainTimeout": "never"}),
            "onDrainTimeout",
        ),
    ] {
        let mut input = json!({"application": "shop", "imageId": "test/demo:1"});
        let fields = more.as_object().unwrap().clone();
        input.as_object_mut().unwrap().extend(fields);
        let refused = world.submit("x", "createServerGroup", &input).await;
        let text = format!("{:?}", proto::status::Failure::from(refused.unwrap_err()));
        assert!(text.contains(words), "{text}");
    }
}
