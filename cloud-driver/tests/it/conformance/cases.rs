//! The cases, one for each rule.

use std::time::{Duration, Instant};

use cloud_driver::provider::router::Error;
use rollout::router::{Desired, State};
use rollout::{
    Disable, Failure, InFlight, OnDrainTimeout, Outcome, Present, ReplaceInPlace, Role, Settings,
    View,
};

use super::drive::{Board, drive};
use super::{Harness, Held, SOON, Verdict, WHILE, Wanted, group, hold_true, seen, soon};

/// The token of the cases' writer.
pub(super) const FENCE: u64 = 5;

/// How far a measured share may be from the seen one, in thousandths.
const TOLERANCE: u32 = 60;

/// Requests that a share is measured with.
const MEASURED: u32 = 100;

fn told(desired: &Desired) -> String {
    format!("told {desired:?}")
}

/// Starts members and waits until all of them are seen as their roles say.
async fn begin(h: &mut impl Harness, groups: &[Wanted]) -> Result<View, String> {
    for (id, _) in groups.iter().flat_map(|g| &g.members) {
        if !h.runs(id) {
            h.start(id, true).await;
        }
    }
    apply(h, groups).await?;
    let all_serve = |view: &View| {
        let mut members = groups.iter().flat_map(|g| &g.members);
        members.all(|(id, role)| match role {
            Role::Serve => view.serves(id),
            Role::Warm => view.instances.get(id).is_some_and(|s| s.ready),
            Role::Drain => view
                .instances
                .get(id)
                .is_some_and(|s| s.state == State::Drained),
            Role::Absent => true,
        })
    };
    seen(&h.router(), "serving", "every role as asked", all_serve).await
}

async fn apply(h: &impl Harness, groups: &[Wanted]) -> Result<rollout::router::Applied, String> {
    let desired = h.desired(groups);
    let applied = h.router().apply(&desired, FENCE).await;
    applied.map_err(|e| format!("whole: {e}; {}", told(&desired)))
}

/// Holds work until a certain member has some; the rest is released.
async fn hold_at<H: Harness>(h: &H, member: &str) -> Result<Held<H::Way>, String> {
    let mut others = Vec::new();
    for _ in 0..20 {
        let held = soon("work is begun", h.hold()).await?;
        if held.member == member {
            for other in others {
                h.release(other).await?;
            }
            return Ok(held);
        }
        others.push(held);
    }
    Err(format!("{member} gets no work"))
}

/// Gives the service more work at a time than whoever is busy has, so that one who has little is
/// tempting; who got it.
async fn tempt(h: &impl Harness) -> Result<Vec<String>, String> {
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(soon("work is begun", h.hold()).await?);
    }
    let members = held.iter().map(|held| held.member.clone()).collect();
    for held in held {
        soon("it ends", h.release(held)).await?;
    }
    Ok(members)
}

/// `weight`: what is set is read back as it is in effect, and is what users get.
pub(super) async fn weights_set_are_seen_in_effect(h: &mut impl Harness) -> Verdict {
    use Role::Serve;
    begin(
        h,
        &[
            group("a", 1, &[("a0", Serve)]),
            group("b", 1, &[("b0", Serve)]),
        ],
    )
    .await?;
    for (a, b, share) in [(90, 10, 100), (50, 50, 500), (0, 10, 1000)] {
        let groups = [
            group("a", a, &[("a0", Serve)]),
            group("b", b, &[("b0", Serve)]),
        ];
        let applied = apply(h, &groups).await?;
        let what = format!("b gets {share} thousandths");
        let view = seen(&h.router(), "weight", &what, |view| {
            let of = |name: &str| view.weights.get(name).copied().unwrap_or(0);
            of("b").abs_diff(share) <= 1 && of("a").abs_diff(1000 - share) <= 1
        })
        .await?;
        let generation = view.generation;
        hold_true("whole", generation >= applied.generation, || {
            format!("a view of generation {generation} after {applied:?}")
        })?;
        let mut got = 0;
        for _ in 0..MEASURED {
            let member = soon("an answer", h.ask()).await?;
            got += u32::from(member == "b0");
        }
        let got = got * 1000 / MEASURED;
        hold_true("weight", got.abs_diff(share) <= TOLERANCE, || {
            format!("b was seen to get {share} thousandths and got {got}")
        })?;
    }
    Ok(())
}

/// `weight`: a group that serves nobody has no share, whatever was asked.
pub(super) async fn a_group_without_a_serving_member_has_no_share(h: &mut impl Harness) -> Verdict {
    use Role::Serve;
    let groups = [
        group("a", 50, &[("a0", Serve)]),
        group("b", 50, &[("b0", Serve)]),
    ];
    begin(h, &groups).await?;
    h.set_well("b0", false);
    seen(&h.router(), "weight", "all of it goes to a", |view| {
        view.weights.get("a") == Some(&1000) && view.weights.get("b") == Some(&0)
    })
    .await?;
    for _ in 0..20 {
        let member = soon("an answer", h.ask()).await?;
        hold_true("weight", member == "a0", || {
            format!("{member} got work although its group had no share")
        })?;
    }
    h.set_well("b0", true);
    seen(&h.router(), "weight", "b has its half again", |view| {
        view.weights.get("b") == Some(&500)
    })
    .await?;
    Ok(())
}

/// Compares what is seen in flight with the truth.
async fn counts_are_true(h: &impl Harness, members: &[&str]) -> Verdict {
    let truth = |id: &str| {
        let truth = h.truth(id);
        InFlight {
            requests: truth.requests,
            tunnels: truth.tunnels,
        }
    };
    let wanted: Vec<_> = members.iter().map(|id| (*id, truth(id))).collect();
    let what = format!("in flight {wanted:?}");
    seen(&h.router(), "count", &what, |view| {
        wanted.iter().all(|(id, count)| {
            let seen = view.instances.get(*id);
            seen.is_some_and(|seen| seen.in_flight == *count)
        })
    })
    .await?;
    Ok(())
}

/// `count`: slow requests and an upgraded connection, one by one, up and down.
pub(super) async fn what_is_in_flight_is_counted_exactly(h: &mut impl Harness) -> Verdict {
    use Role::Serve;
    begin(h, &[group("a", 1, &[("a0", Serve), ("a1", Serve)])]).await?;
    let mut held = Vec::new();
    for n in 0..5 {
        let tunnel = n == 3 && h.router().abilities().tunnels;
        held.push(if tunnel {
            soon("a tunnel", h.tunnel()).await?
        } else {
            soon("work is begun", h.hold()).await?
        });
        counts_are_true(h, &["a0", "a1"]).await?;
    }
    let total: u64 = ["a0", "a1"]
        .iter()
        .map(|id| h.truth(id).requests + h.truth(id).tunnels)
        .sum();
    hold_true("count", total == 5, || {
        format!("the harness holds {total} of 5")
    })?;
    for held in held {
        soon("it ends", h.release(held)).await?;
        counts_are_true(h, &["a0", "a1"]).await?;
    }
    Ok(())
}

/// `closed` and `drained`: nothing new from the acknowledgement on, and the end only when
/// nothing is left; then latched.
pub(super) async fn a_drain_takes_nothing_new_and_ends_when_nothing_is_left(
    h: &mut impl Harness,
) -> Verdict {
    use Role::{Drain, Serve};
    begin(h, &[group("a", 1, &[("a0", Serve), ("a1", Serve)])]).await?;
    let held = hold_at(h, "a0").await?;
    let applied = apply(h, &[group("a", 1, &[("a0", Drain), ("a1", Serve)])]).await?;
    let router = h.router();
    let view = seen(&router, "closed", "a0 drains", |view| {
        let seen = view.instances.get("a0");
        seen.is_some_and(|s| matches!(s.state, State::Draining | State::Drained))
    })
    .await?;
    hold_true("whole", view.generation >= applied.generation, || {
        format!("{applied:?}, then {}", view.generation)
    })?;
    let taken = h.truth("a0").taken;
    let end = Instant::now() + WHILE;
    while Instant::now() < end {
        let members = tempt(h).await?;
        let now = h.truth("a0").taken;
        let leaks = members.iter().any(|m| m == "a0") || now != taken;
        hold_true("closed", !leaks, || {
            format!("a0 was seen draining and got {} more", now - taken)
        })?;
        let view = router.observe().await.map_err(|e| e.to_string())?;
        let state = view.instances.get("a0").map(|s| s.state);
        hold_true("drained", state == Some(State::Draining), || {
            format!("a0 is {state:?} with {:?}", h.truth("a0"))
        })?;
    }
    soon("the held work ends", h.release(held)).await?;
    let view = drained(h, "a0").await?;
    let seen = &view.instances["a0"];
    let left = seen.in_flight.total() + seen.connections.unwrap_or(0);
    hold_true("drained", left == 0, || format!("drained with {seen:?}"))?;
    let truth = h.truth("a0");
    hold_true("drained", truth.requests + truth.tunnels == 0, || {
        format!("drained while it really has {truth:?}")
    })?;
    let end = Instant::now() + SOON;
    // Its end of a connection is closed a moment later than the router's.
    while h.truth("a0").connections > 0 {
        hold_true("drained", Instant::now() < end, || {
            format!("drained, and connections stay open: {:?}", h.truth("a0"))
        })?;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..10 {
        let view = router.observe().await.map_err(|e| e.to_string())?;
        let state = view.instances.get("a0").map(|s| s.state);
        hold_true("drained", state == Some(State::Drained), || {
            format!("not latched: {state:?}")
        })?;
    }
    Ok(())
}

/// What has drained may serve again.
pub(super) async fn a_drain_is_revoked(h: &mut impl Harness) -> Verdict {
    use Role::{Drain, Serve, Warm};
    begin(h, &[group("a", 1, &[("a0", Serve), ("a1", Serve)])]).await?;
    apply(h, &[group("a", 1, &[("a0", Drain), ("a1", Serve)])]).await?;
    drained(h, "a0").await?;
    begin(h, &[group("a", 1, &[("a0", Warm), ("a1", Serve)])]).await?;
    let taken = h.truth("a0").taken;
    tempt(h).await?;
    hold_true("closed", h.truth("a0").taken == taken, || {
        "a0 is warm and gets work".to_owned()
    })?;
    begin(h, &[group("a", 1, &[("a0", Serve), ("a1", Drain)])]).await?;
    let member = soon("an answer", h.ask()).await?;
    hold_true("serving", member == "a0", || format!("{member} answers"))
}

async fn drained(h: &impl Harness, id: &str) -> Result<View, String> {
    let what = format!("{id} has drained");
    seen(&h.router(), "drained", &what, |view| {
        let seen = view.instances.get(id);
        seen.is_some_and(|s| s.state == State::Drained)
    })
    .await
}

fn present(id: &str, group: &str, slot: &str) -> Present {
    Present {
        id: id.to_owned(),
        group: group.to_owned(),
        slot: slot.to_owned(),
        role: Role::Serve,
        dead: false,
    }
}

/// Quick limits for rollouts of the suite.
fn settings() -> Settings {
    Settings {
        settle_ms: 50,
        start_timeout_ms: 120_000,
        drain_timeout_ms: 60_000,
        grace_ms: 1_000,
        prove_after_ms: 50,
        ..Settings::default()
    }
}

/// `deadline`: a drain that is not over in its time is told with what is left, and a cut
/// says what it ended.
pub(super) async fn a_deadline_that_passes_is_told_with_its_count(h: &mut impl Harness) -> Verdict {
    use Role::Serve;
    begin(h, &[group("a", 1, &[("a0", Serve)])]).await?;
    let mut held = vec![
        soon("work is begun", h.hold()).await?,
        soon("work is begun", h.hold()).await?,
    ];
    let tunnels = h.router().abilities().tunnels;
    if tunnels {
        held.push(soon("a tunnel", h.tunnel()).await?);
    }
    let left = InFlight {
        requests: 2,
        tunnels: u64::from(tunnels),
    };
    let rollout = |then| {
        Disable {
            instances: vec![present("a0", "a", "h0")],
            peers: Vec::new(),
            settings: Settings {
                drain_timeout_ms: 400,
                on_drain_timeout: then,
                ..settings()
            },
        }
        .plan()
    };
    let board = |h: &_| Board::new(h, &[group("a", 1, &[("a0", Serve)])]);
    let failed = {
        let mut board = board(&*h);
        drive(h, rollout(OnDrainTimeout::Fail), &mut board).await?
    };
    let counts: Vec<InFlight> = failed.overdue.iter().map(|o| o.in_flight).collect();
    hold_true("deadline", counts == [left], || {
        format!("{left:?} were in flight and {counts:?} were told")
    })?;
    let Outcome::Failed {
        failure: Failure::Drain { requests, .. },
        ..
    } = failed.outcome
    else {
        return Err(format!("deadline: passed, and ended {:?}", failed.outcome));
    };
    hold_true("deadline", requests == left.total(), || {
        format!("the failure tells {requests} of {left:?}")
    })?;
    let cut = {
        let mut board = board(&*h);
        drive(h, rollout(OnDrainTimeout::Cut), &mut board).await?
    };
    hold_true("deadline", cut.outcome == Outcome::Succeeded, || {
        format!("a cut ended {:?}", cut.outcome)
    })?;
    hold_true("deadline", cut.cut == left, || {
        format!("{left:?} were cut and {:?} were told", cut.cut)
    })?;
    drop(held);
    Ok(())
}

/// `floor`: at no sample fewer serve than a rollout must keep, and no user waits for nobody.
pub(super) async fn a_rollout_that_goes_by_it_keeps_its_floor(h: &mut impl Harness) -> Verdict {
    use Role::Serve;
    let members = [("a0", Serve), ("a1", Serve), ("a2", Serve)];
    let groups = [group("a", 100, &members)];
    begin(h, &groups).await?;
    let mut board = Board::new(h, &groups);
    let slot = |n: usize| format!("h{n}");
    let rollout = ReplaceInPlace {
        old_group: "a".to_owned(),
        old: (0..3)
            .map(|n| present(&format!("a{n}"), "a", &slot(n)))
            .collect(),
        weight: 100,
        new_group: "b".to_owned(),
        new: (0..3)
            .map(|n| rollout::Newcomer {
                id: format!("b{n}"),
                slot: slot(n),
            })
            .collect(),
        floor: Some(2),
        allow_outage: false,
        settings: settings(),
    }
    .plan()
    .map_err(|e| e.to_string())?;
    let driven = drive(h, rollout, &mut board).await?;
    hold_true("floor", driven.least >= 2, || {
        format!("{} served at a sample", driven.least)
    })?;
    hold_true("floor", driven.outcome == Outcome::Succeeded, || {
        format!("{:?}", driven.outcome)
    })
}

/// `fence`: an older writer is refused, by whichever control side.
pub(super) async fn an_older_writer_is_refused(h: &mut impl Harness) -> Verdict {
    use Role::{Drain, Serve};
    begin(h, &[group("a", 1, &[("a0", Serve)])]).await?;
    let other = h.desired(&[group("a", 1, &[("a0", Drain)])]);
    for restarted in [false, true] {
        if restarted {
            h.restart_control().await;
        }
        let answer = h.router().apply(&other, FENCE - 1).await;
        hold_true(
            "fence",
            matches!(answer, Err(Error::Fenced { sent, .. }) if sent == FENCE - 1),
            || format!("an older token was answered {answer:?}, control restarted: {restarted}"),
        )?;
        let member = soon("an answer", h.ask()).await?;
        hold_true("fence", member == "a0", || format!("{member} answers"))?;
    }
    let answer = h.router().apply(&other, FENCE + 1).await;
    hold_true("fence", answer.is_ok(), || {
        format!("a newer one: {answer:?}")
    })?;
    drained(h, "a0").await.map(drop)
}

/// `same`: the same again changes nothing.
pub(super) async fn the_same_configuration_again_changes_nothing(h: &mut impl Harness) -> Verdict {
    use Role::{Drain, Serve};
    let groups = [group("a", 1, &[("a0", Serve), ("a1", Drain)])];
    begin(h, &groups).await?;
    let held = soon("work is begun", h.hold()).await?;
    let first = apply(h, &groups).await?;
    for _ in 0..3 {
        let again = apply(h, &groups).await?;
        hold_true("same", again == first, || {
            format!("{first:?}, then {again:?}")
        })?;
        let view = h.router().observe().await.map_err(|e| e.to_string())?;
        let states: Vec<_> = view.instances.values().map(|s| s.state).collect();
        hold_true("same", states == [State::Serving, State::Drained], || {
            format!("{states:?}")
        })?;
        hold_true("same", view.generation == first.generation, || {
            format!("{first:?}, then {}", view.generation)
        })?;
    }
    counts_are_true(h, &["a0"]).await?;
    soon("the held work ends", h.release(held)).await
}

/// `resume`: the control side is gone between asking and seeing.
pub(super) async fn a_control_side_that_begins_anew_finds_what_is(h: &mut impl Harness) -> Verdict {
    use Role::{Drain, Serve};
    let roles = |a0, a1| [group("a", 1, &[("a0", a0), ("a1", a1), ("a2", Serve)])];
    begin(h, &roles(Serve, Serve)).await?;
    let held = hold_at(h, "a0").await?;
    let groups = roles(Drain, Drain);
    let before = apply(h, &groups).await?;
    drained(h, "a1").await?;
    let taken = |h: &_| (Harness::truth(h, "a0").taken, Harness::truth(h, "a1").taken);
    let had = taken(&*h);
    h.restart_control().await;
    let after = apply(h, &groups).await?;
    if h.router().abilities().data_plane {
        hold_true("resume", after == before, || {
            format!("{before:?}, then {after:?}")
        })?;
    }
    let view = drained(h, "a1").await.map_err(|e| format!("resume: {e}"))?;
    let busy = view.instances.get("a0").map(|s| s.state);
    hold_true("resume", busy == Some(State::Draining), || {
        format!("a0, which is busy, is {busy:?}")
    })?;
    counts_are_true(h, &["a0"]).await?;
    tempt(h).await?;
    let has = taken(&*h);
    hold_true("closed", has == had, || {
        format!("work begun was {had:?} and is {has:?}")
    })?;
    soon("the held work ends", h.release(held)).await?;
    drained(h, "a0").await.map(drop)
}

/// `epoch`: the data plane is gone with what it observed.
pub(super) async fn a_lost_data_plane_is_told_by_another_epoch(h: &mut impl Harness) -> Verdict {
    use Role::{Drain, Serve};
    let roles = |a0| [group("a", 1, &[("a0", a0), ("a1", Serve)])];
    begin(h, &roles(Serve)).await?;
    let held = hold_at(h, "a0").await?;
    let applied = apply(h, &roles(Drain)).await?;
    for _ in 0..4 {
        soon("an answer", h.ask()).await?;
    }
    let before = seen(&h.router(), "epoch", "a1 has served", |view| {
        view.instances.get("a1").is_some_and(|s| s.first_served)
    })
    .await?;
    h.restart_data_plane().await;
    let router = h.router();
    let after = seen(&router, "epoch", "another epoch", |view| {
        view.epoch != before.epoch
    })
    .await?;
    let unproven = after.instances.get("a1").is_some_and(|s| !s.first_served);
    hold_true("epoch", unproven, || {
        format!("a1 has served before anybody asked: {after:?}")
    })?;
    hold_true("epoch", after.generation == applied.generation, || {
        format!("{applied:?} was in force, then {}", after.generation)
    })?;
    drop(held);
    drained(h, "a0").await?;
    seen(&router, "epoch", "a1 serves again", |view| {
        view.serves("a1")
    })
    .await?;
    soon("an answer", h.ask()).await?;
    seen(&router, "epoch", "a1 has served again", |view| {
        view.instances.get("a1").is_some_and(|s| s.first_served)
    })
    .await
    .map(drop)
}
