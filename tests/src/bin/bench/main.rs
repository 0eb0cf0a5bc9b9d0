//! Measures what the project promises to cost, and prints the table of `docs/benchmarks.md`.
//!
//! `make bench`, or `bench start rest notification webhook engine fanin waiting slope proxy` for some of the rows. Nothing here
//! fails because a figure is bad; a figure that cannot be taken says why.

mod engine;
mod fanin;
mod host;
mod load;
mod notification;
mod proxy;
mod raw;
mod rest;
mod slope;
mod start;
mod waiting;
mod webhook;

use anyhow::Result;

/// One line of the table.
struct Row {
    what: String,
    promised: &'static str,
    measured: String,
}

impl Row {
    fn new(what: impl Into<String>, promised: &'static str, measured: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            promised,
            measured: measured.into(),
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    let mut rows = Vec::new();
    if wants("start") {
        add(&mut rows, "start", start::measure().await);
    }
    if wants("rest") {
        add(&mut rows, "memory and rest", rest::measure().await);
    }
    if wants("notification") {
        add(&mut rows, "notification", notification::measure().await);
    }
    if wants("webhook") {
        add(&mut rows, "webhook", webhook::measure().await);
    }
    if wants("engine") {
        add(&mut rows, "engine", engine::measure().await);
    }
    if wants("fanin") {
        add(&mut rows, "fan-in", fanin::measure().await);
    }
    if wants("waiting") {
        add(&mut rows, "waiting", waiting::measure().await);
    }
    if wants("slope") {
        add(&mut rows, "memory", slope::measure().await);
    }
    if wants("proxy") {
        add(&mut rows, "balancer and nginx", proxy::measure().await);
    }
    println!("{}\n", host::describe());
    println!("| what | promised | measured |\n|---|---|---|");
    for row in rows {
        println!("| {} | {} | {} |", row.what, row.promised, row.measured);
    }
    Ok(())
}

fn add(rows: &mut Vec<Row>, what: &str, measured: Result<Vec<Row>>) {
    match measured {
        Ok(more) => rows.extend(more),
        Err(error) => rows.push(Row::new(what, "", format!("not measured: {error:#}"))),
    }
}
