//! The hour of seconds: what it says, whom it outlives, and following it.

use std::process::Stdio;

use serde_json::Value;
use tokio::net::UnixStream;

use crate::backend::Backend;
use crate::client::Connection;
use crate::stand::{Stand, config, eventually, group, instance, soon};

const FILE: &str = "history-1.jsonl";

fn sum(series: &Value, field: &str) -> u64 {
    let seconds = series["seconds"].as_array().into_iter().flatten();
    seconds.map(|s| s[field].as_u64().unwrap_or(0)).sum()
}

impl Stand {
    pub(crate) async fn series(&self, name: &str) -> Value {
        let history = self.admin("GET /v1/history?seconds=600", &[], b"").await;
        let all = history.json()["series"].as_array().unwrap().clone();
        let found = all.into_iter().find(|s| s["group"] == name);
        found.unwrap_or(Value::Null)
    }

    /// Waits until so many good answers of a group are in the history.
    pub(crate) async fn recorded(&self, group: &str, ok: u64) {
        eventually("they are in the history", async || {
            let series = self.series(group).await;
            let there = sum(&series, "ok");
            if there == ok { Ok(()) } else { Err(there) }
        })
        .await;
    }

    /// Waits until the second that is the last one now is on disk: the next has ended.
    async fn next_second(&self) {
        let until = async || {
            let history = self.admin("GET /v1/history?seconds=1", &[], b"").await;
            history.json()["untilS"].as_i64().unwrap()
        };
        let now = until().await;
        eventually("the next second ends", async || {
            if until().await > now {
                Ok(())
            } else {
                Err(now)
            }
        })
        .await;
    }
}

async fn two_groups(a: &Backend, b: &Backend) -> Stand {
    two_groups_under(a, b, None).await
}

async fn two_groups_under(a: &Backend, b: &Backend, control: Option<&str>) -> Stand {
    let stand = Stand::with(&["--workers", "2"], control).await;
    stand
        .serve(&config(&[
            group("g", 3, &[instance("a", a, "serve")]),
            group("h", 1, &[instance("b", b, "serve")]),
        ]))
        .await;
    stand
}

#[tokio::test]
async fn the_hour_outlives_a_killed_process_and_the_next_one() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let mut stand = two_groups(&a, &b).await;
    for round in 1..=3 {
        for _ in 0..8 {
            assert_eq!(stand.get("/x").await.status, 200);
        }
        assert_eq!(stand.get("/500").await.status, 500);
        eventually("all of the round are in the history", async || {
            let (g, h) = (stand.series("g").await, stand.series("h").await);
            let both = |field: &str| sum(&g, field) + sum(&h, field);
            let all = both("ok") + both("serverError");
            if all == round * 9 { Ok(()) } else { Err(all) }
        })
        .await;
        stand.next_second().await;
        let before = [stand.series("g").await, stand.series("h").await];
        stand.kill_and_restart().await;
        for (before, name) in before.iter().zip(["g", "h"]) {
            let after = stand.series(name).await;
            for field in ["sent", "ok", "serverError", "ownError", "retries"] {
                let (was, now) = (sum(before, field), sum(&after, field));
                assert_eq!(was, now, "{field} of {name} in round {round}");
            }
            let slow = |s: &Value| {
                let seconds = s["seconds"].as_array().unwrap().iter();
                seconds.map(|s| s["p99Us"].as_u64().unwrap()).max()
            };
            assert_eq!(slow(before), slow(&after));
        }
        stand.wait("a", "serving").await;
        stand.wait("b", "serving").await;
    }
    let lost = stand
        .figures()
        .await
        .sum("balancer_history_lost_total", &[]);
    assert!(lost < 0.5, "{lost}");
}

/// 24 requests, one of which outlives the process that got it and the one after that. Returns when
/// these have ended.
async fn through_two_successors(stand: &mut Stand, a: &Backend, b: &Backend) {
    for _ in 0..7 {
        stand.get("/x").await;
    }
    let mut slow = stand.connect().await;
    slow.send("GET /hold", &[], b"").await.unwrap();
    let held = || a.count("/hold") + b.count("/hold");
    eventually("it has arrived", async || {
        (held() == 1).then_some(()).ok_or("no")
    })
    .await;
    let mut first = stand.replace().await;
    for _ in 0..8 {
        stand.get("/x").await;
    }
    let mut second = stand.replace().await;
    for _ in 0..8 {
        stand.get("/x").await;
    }
    a.release(a.count("/hold"));
    b.release(b.count("/hold"));
    let answer = soon("the answer", slow.receive(false)).await.unwrap();
    assert_eq!(answer.status, 200);
    for old in [&mut first, &mut second] {
        assert_eq!(old.ended().await.code(), Some(0));
    }
}

/// Requests sent and answered well, of both groups.
async fn both(stand: &Stand) -> (u64, u64) {
    let (g, h) = (stand.series("g").await, stand.series("h").await);
    let both = |field: &str| sum(&g, field) + sum(&h, field);
    (both("sent"), both("ok"))
}

#[tokio::test]
async fn what_a_process_still_answers_after_it_handed_over_is_in_its_successors_hour() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let mut stand = two_groups(&a, &b).await;
    through_two_successors(&mut stand, &a, &b).await;
    eventually("every one is there, once", async || {
        let all = both(&stand).await;
        if all == (24, 24) { Ok(()) } else { Err(all) }
    })
    .await;
    // On disk too, and not twice.
    stand.next_second().await;
    stand.kill_and_restart().await;
    assert_eq!(both(&stand).await, (24, 24));
}

#[cfg(feature = "controls")]
#[tokio::test]
async fn control_what_is_not_told_to_the_successor_is_missing_in_its_hour() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let mut stand = two_groups_under(&a, &b, Some("keep-rest")).await;
    through_two_successors(&mut stand, &a, &b).await;
    stand.next_second().await;
    stand.next_second().await;
    assert!(both(&stand).await.1 < 24);
}

#[cfg(feature = "controls")]
#[tokio::test]
async fn control_an_hour_that_is_not_read_is_gone_with_the_process() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let mut stand = two_groups_under(&a, &b, Some("forget-history")).await;
    stand.get("/x").await;
    stand.recorded("g", 1).await;
    stand.next_second().await;
    stand.kill_and_restart().await;
    assert_eq!(both(&stand).await, (0, 0));
}

#[tokio::test]
async fn a_damaged_end_is_told_and_costs_no_more_than_itself() {
    let a = Backend::start("a").await;
    let mut stand = Stand::start().await;
    stand
        .serve(&config(&[group("g", 1, &[instance("a", &a, "serve")])]))
        .await;
    for count in 1..=3 {
        stand.get("/x").await;
        stand.recorded("g", count).await;
    }
    stand.next_second().await;
    let _ = stand.process.0.kill();
    let _ = stand.process.0.wait();
    let path = stand.folder.path().join(FILE);
    let text = std::fs::read(&path).unwrap();
    let lines = text.split(|byte| *byte == b'\n').count() - 1;
    assert!(lines >= 3, "{lines}");
    std::fs::write(&path, &text[..text.len() - 10]).unwrap();

    // Of the process only what it says about it.
    let output = std::fs::File::create(stand.folder.path().join("stderr")).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_balancer"));
    command
        .arg("--data")
        .arg(stand.folder.path())
        .args(["--listen", &stand.address.to_string()])
        .stdin(Stdio::null())
        .stderr(output);
    stand.process.0 = command.spawn().unwrap();
    eventually("it answers", async || {
        let connection = Connection::<UnixStream>::admin(&stand.socket()).await;
        connection.map(drop)
    })
    .await;
    assert_eq!(sum(&stand.series("g").await, "ok"), 2);
    let damaged = [("reason", "damaged")];
    let told = stand.figures().await;
    let told = told.sum("balancer_history_lost_total", &damaged);
    assert!((told - 1.0).abs() < 0.1, "{told}");
    let said = std::fs::read_to_string(stand.folder.path().join("stderr")).unwrap();
    let words = format!("1 of {lines} lines are not what was written and are left out");
    assert!(said.contains(&words) && said.contains(FILE), "{said}");
    // And it goes on, behind the torn line.
    stand.wait("a", "serving").await;
    stand.get("/x").await;
    stand.recorded("g", 3).await;
    stand.next_second().await;
    stand.kill_and_restart().await;
    assert_eq!(sum(&stand.series("g").await, "ok"), 3);
}

#[tokio::test]
async fn the_share_of_each_group_is_told_second_by_second_to_whoever_follows() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = two_groups(&a, &b).await;
    let mut follower = Connection::admin(&stand.socket()).await.unwrap();
    let line = "GET /v1/history?seconds=5&follow=true";
    follower.send(line, &[], b"").await.unwrap();
    let head = soon("the head", follower.until(b"\r\n\r\n")).await.unwrap();
    assert!(String::from_utf8_lossy(&head).contains("application/x-ndjson"));
    for _ in 0..40 {
        stand.get("/x").await;
    }
    let (mut until, mut sent) = (None, [0, 0]);
    while sent != [30, 10] {
        let line = soon("a second", follower.until(b"}\n")).await.unwrap();
        let from = line.iter().position(|byte| *byte == b'{').unwrap();
        let history: Value = serde_json::from_slice(&line[from..]).unwrap();
        let now = history["untilS"].as_i64().unwrap();
        let of = |name: &str| {
            let mut series = history["series"].as_array().unwrap().iter();
            let series = series.find(|s| s["group"] == name).cloned();
            series.unwrap_or_else(|| serde_json::json!({"seconds": []}))
        };
        let (g, h) = (of("g"), of("h"));
        let seconds = g["seconds"].as_array().unwrap().len();
        match until.replace(now) {
            // Before its first second it has nothing to tell.
            None if history["series"] == serde_json::json!([]) => {}
            None => assert_eq!(seconds, 5, "{history}"),
            Some(before) => assert_eq!(i64::try_from(seconds), Ok(now - before), "{history}"),
        }
        for at in 0..seconds {
            let one = |of: &Value, field: &str| of["seconds"][at][field].as_u64().unwrap_or(0);
            let all = one(&g, "sent") + one(&h, "sent");
            let share = one(&g, "share") + one(&h, "share");
            assert_eq!(share, if all > 0 { 1000 } else { 0 }, "{history}");
            // Any four in a row are three and one.
            if all > 0 && all.is_multiple_of(4) {
                assert_eq!(one(&g, "share"), 750, "{history}");
            }
        }
        sent = [sent[0] + sum(&g, "sent"), sent[1] + sum(&h, "sent")];
        assert!(
            sent[0] <= 30 && sent[1] <= 10,
            "none is told twice: {sent:?}"
        );
    }
}

#[tokio::test]
async fn no_more_follow_than_may_and_what_is_asked_wrongly_is_refused() {
    let stand = Stand::start().await;
    let line = "GET /v1/history?seconds=1&follow=true";
    let mut followers = Vec::new();
    for _ in 0..16 {
        let mut follower = Connection::admin(&stand.socket()).await.unwrap();
        follower.send(line, &[], b"").await.unwrap();
        let head = soon("the head", follower.until(b"\r\n\r\n")).await.unwrap();
        assert!(head.starts_with(b"HTTP/1.1 200"));
        followers.push(follower);
    }
    assert_eq!(stand.admin(line, &[], b"").await.status, 503);
    let once = stand.admin("GET /v1/history?seconds=1&follow=false", &[], b"");
    assert_eq!(once.await.status, 200);
    followers.pop();
    eventually("there is room again", async || {
        let mut follower = Connection::admin(&stand.socket()).await.unwrap();
        follower.send(line, &[], b"").await.unwrap();
        let head = soon("the head", follower.until(b"\r\n\r\n")).await.unwrap();
        head.starts_with(b"HTTP/1.1 200").then_some(()).ok_or("no")
    })
    .await;
    let answer = stand.admin("GET /v1/history?follow=maybe", &[], b"").await;
    assert_eq!(answer.status, 400);
    let answer = stand.admin("POST /v1/seconds", &[], b"{}").await;
    assert_eq!(answer.status, 422);
}
