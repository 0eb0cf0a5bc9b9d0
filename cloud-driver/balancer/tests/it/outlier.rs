//! Leaving out instances that requests fail at, and the floor.

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::stand::{Stand, config, eventually, group, instance};

/// One group, hardly probed once it serves.
fn rarely_probed(instances: &[Value], floor: u32, outlier: Value) -> Value {
    let mut group = group("g", 1, instances);
    group["health"]["intervalMs"] = 3_600_000.into();
    group["health"]["warmIntervalMs"] = 3_600_000.into();
    group["health"]["healthyThreshold"] = 1.into();
    group["floor"] = floor.into();
    group["outlier"] = outlier;
    config(&[group])
}

#[tokio::test]
async fn answers_with_5xx_leave_an_instance_out_only_where_that_is_asked_for() {
    let (a, b) = (Backend::start("a").await, Backend::start("b").await);
    let stand = Stand::with(&["--workers", "1"], None).await;
    let instances = [instance("a", &a, "serve"), instance("b", &b, "serve")];
    stand.serve(&rarely_probed(&instances, 0, json!({}))).await;
    for _ in 0..20 {
        assert_eq!(stand.get("/500").await.status, 500);
    }
    assert_eq!(stand.state().await["groups"][0]["capacity"], 2);
    let asked = json!({"consecutive5xx": 3, "baseEjectionMs": 60_000, "maxEjectionMs": 60_000});
    stand.serve(&rarely_probed(&instances, 0, asked)).await;
    for _ in 0..3 {
        for path in ["/500", "/500", "/500", "/500", "/x", "/x"] {
            stand.get(path).await;
        }
    }
    assert_eq!(
        stand.state().await["groups"][0]["capacity"],
        2,
        "never three in a row"
    );
    for _ in 0..12 {
        assert_eq!(stand.get("/500").await.status, 500, "passed on");
    }
    let reasons = eventually("one is left out and one stays", async || {
        let of = async |id: &str| {
            let state = stand.instance(id).await;
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            (text(&state["state"]), text(&state["reason"]))
        };
        let mut both = [of("a").await, of("b").await];
        both.sort();
        let stays = both[0].1.contains("it goes on serving");
        if both[1].0 == "suspended" && stays {
            Ok(both)
        } else {
            Err(both)
        }
    })
    .await;
    assert!(
        reasons[1].1.ends_with("of its answers in a row were 5xx"),
        "{reasons:?}"
    );
    assert!(
        reasons[0]
            .1
            .ends_with("at most 50 % of its group may be left out"),
        "{reasons:?}"
    );
    let state = stand.state().await["groups"][0].clone();
    assert_eq!(
        (&state["capacity"], &state["ejected"]),
        (&json!(1), &json!(1))
    );
    assert!((stand.metric("balancer_suspensions_total").await - 1.0).abs() < 0.1);
}

/// How many of four still serve, of which two are dead, in a group with a floor of three.
pub(crate) async fn left_of_four(control: Option<&str>) -> Value {
    let mut all = Vec::new();
    for name in ["a", "b", "c", "d"] {
        all.push(Backend::start(name).await);
    }
    let stand = Stand::with(&["--workers", "1"], control).await;
    let names = ["a", "b", "c", "d"].iter().zip(&all);
    let instances: Vec<_> = names.map(|(name, b)| instance(name, b, "serve")).collect();
    let outlier = json!({"maxEjectionPercent": 100, "baseEjectionMs": 60_000,
                         "maxEjectionMs": 60_000});
    stand.serve(&rarely_probed(&instances, 3, outlier)).await;
    all.truncate(2);
    eventually("both have failed often enough", async || {
        stand.get("/x").await;
        let (c, d) = (stand.instance("c").await, stand.instance("d").await);
        let why = |state: &Value| {
            state["reason"]
                .as_str()
                .is_some_and(|r| r.contains("in a row"))
        };
        if why(&c) && why(&d) {
            Ok(())
        } else {
            Err((c, d))
        }
    })
    .await;
    for _ in 0..20 {
        stand.get("/x").await;
    }
    let state = stand.state().await;
    let reasons: Vec<_> = state["instances"].as_array().unwrap().iter().collect();
    let kept = "it goes on serving: 3 of its group must stay in";
    let told = |i: &&&Value| i["reason"].as_str().is_some_and(|r| r.ends_with(kept));
    let told = reasons.iter().filter(told).count();
    assert_eq!(told, usize::from(control.is_none()), "{reasons:?}");
    state["groups"][0].clone()
}

#[tokio::test]
async fn however_many_requests_fail_the_floor_stays_in() {
    let group = left_of_four(None).await;
    assert_eq!(group["capacity"], 3, "{group}");
    assert_eq!((&group["floor"], &group["ejected"]), (&json!(3), &json!(1)));
}
