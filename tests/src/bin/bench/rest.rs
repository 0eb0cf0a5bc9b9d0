//! Memory after 1,000 executions, and processor time at rest, of control plane and balancer together.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tests::census::{self, Process, Role};
use tests::fixture::{pipeline, stage};
use tests::{Setup, Stack, eventually, measure};

use crate::Row;

const EXECUTIONS: usize = 1000;
const REST: Duration = Duration::from_secs(60);
/// Executions that run at the same time.
const AT_ONCE: usize = 20;

pub(crate) async fn measure() -> Result<Vec<Row>> {
    let stack = Stack::up(Setup::default()).await?;
    let gate = &stack.gate;
    gate.save_application("rest").await?;
    let stages = [
        stage(
            "evaluateVariables",
            "Name",
            "1",
            &[],
            json!({
                "variables": [{"key": "a", "value": "${1 + 1}"}],
            }),
        ),
        stage("wait", "Wait", "2", &["1"], json!({"waitTime": 0})),
    ];
    gate.save_pipeline(&pipeline("rest", "P", &stages)).await?;
    let mut running = Vec::new();
    for _ in 0..EXECUTIONS {
        running.push(gate.start("rest", "P", &json!({})).await?);
        if running.len() == AT_ONCE {
            for id in running.drain(..) {
                gate.wait_for_execution(&id, Duration::from_secs(60))
                    .await?;
            }
        }
    }
    for id in running {
        gate.wait_for_execution(&id, Duration::from_secs(60))
            .await?;
    }
    let ours = ours(&stack).await?;
    let mut parts = Vec::new();
    let mut total = 0;
    for process in &ours {
        let kib = measure::pss_kib(process.pid)?;
        total += kib;
        parts.push(format!("{:?} {:.1}", process.role, mib(kib)));
    }
    let memory = format!("{:.1} MiB ({})", mib(total), parts.join(", "));

    let used = |processes: &[Process]| -> Result<Duration> {
        processes
            .iter()
            .map(|process| measure::cpu(process.pid))
            .sum()
    };
    let before = used(&ours)?;
    tokio::time::sleep(REST).await;
    let spent = used(&ours)?.saturating_sub(before);
    let share = 100.0 * spent.as_secs_f64() / REST.as_secs_f64();
    Ok(vec![
        Row::new(
            format!("PSS after {EXECUTIONS} executions"),
            "≤ 64 MiB",
            memory,
        ),
        Row::new(
            format!("processor at rest over {} s", REST.as_secs()),
            "≤ 0.5 % of a core",
            format!("{share:.2} %"),
        ),
    ])
}

/// Control plane and balancer, once the balancer runs.
async fn ours(stack: &Stack) -> Result<Vec<Process>> {
    let found = eventually("the balancer runs", Duration::from_secs(20), async || {
        let mut found = census::of(&stack.data);
        found.retain(|process| {
            matches!(
                process.role,
                Role::ControlPlane | Role::Balancer | Role::Shim
            )
        });
        let has = |role| found.iter().any(|process| process.role == role);
        if has(Role::ControlPlane) && has(Role::Balancer) {
            Ok(found)
        } else {
            Err(found)
        }
    });
    found
        .await
        .context("control plane and balancer are to be measured together")
}

#[allow(clippy::cast_precision_loss)] // memory of one machine fits
fn mib(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
