//! Accepting configurations: generations, fencing, faults, the journal.

use serde_json::{Value, json};

use crate::backend::Backend;
use crate::stand::{Stand, config, group, instance};

fn simple(backend: &Backend, weight: u32) -> Value {
    config(&[group("g", weight, &[instance("i", backend, "serve")])])
}

#[tokio::test]
async fn a_configuration_replaces_the_generation_its_writer_knew_and_no_other() {
    let backend = Backend::start("a").await;
    let stand = Stand::start().await;
    let epoch = stand.state().await["epoch"].clone();
    let first = stand.put("\"0\"", 5, &simple(&backend, 1)).await;
    assert_eq!(
        (first.status, first.json()),
        (200, json!({"epoch": epoch, "generation": 1}))
    );

    let again = stand.put("\"0\"", 5, &simple(&backend, 1)).await;
    assert_eq!(
        (again.status, again.json()),
        (200, first.json()),
        "the same again changes nothing"
    );

    let outdated = stand.put("\"0\"", 5, &simple(&backend, 2)).await;
    assert_eq!(
        (outdated.status, &outdated.json()["generation"]),
        (412, &json!(1))
    );

    let second = stand.put("\"1\"", 5, &simple(&backend, 2)).await;
    assert_eq!(
        (second.status, &second.json()["generation"]),
        (200, &json!(2))
    );
    let now = stand.admin("GET /v1/config", &[], b"").await;
    assert_eq!(now.header("etag"), Some("\"2\""));
    assert_eq!(now.json()["loadBalancers"][0]["groups"][0]["weight"], 2);
}

#[tokio::test]
async fn a_writer_with_a_smaller_token_is_refused_also_for_what_is_there_and_after_a_restart() {
    let backend = Backend::start("a").await;
    let mut stand = Stand::start().await;
    assert_eq!(
        stand.put("\"0\"", 5, &simple(&backend, 1)).await.status,
        200
    );
    // The next writer takes over with the same configuration: only its token is new.
    assert_eq!(
        stand.put("\"1\"", 7, &simple(&backend, 1)).await.status,
        200
    );
    for _ in 0..2 {
        for generation in ["\"1\"", "\"*\""] {
            for weight in [1, 2] {
                let answer = stand.put(generation, 6, &simple(&backend, weight)).await;
                assert_eq!(answer.status, 409, "{}", answer.text());
                assert_eq!(answer.header("x-fence"), Some("7"), "{}", answer.text());
            }
        }
        assert_eq!(stand.state().await["generation"], 1);
        stand.kill_and_restart().await;
    }
    assert_eq!(
        stand.put("\"1\"", 7, &simple(&backend, 2)).await.status,
        200
    );
}

#[tokio::test]
async fn requests_without_what_guards_them_are_refused() {
    let stand = Stand::start().await;
    for (headers, status) in [
        (vec![("x-fence", "1")], 428),
        (vec![("if-match", "\"0\"")], 428),
        (vec![("if-match", "\"x\""), ("x-fence", "1")], 400),
    ] {
        let answer = stand.admin("PUT /v1/config", &headers, b"{}").await;
        assert_eq!(answer.status, status, "{headers:?}");
    }
    assert_eq!(stand.admin("GET /v1/nothing", &[], b"").await.status, 404);
    assert_eq!(
        stand
            .admin("GET /v1/history?seconds=x", &[], b"")
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn a_faulty_configuration_is_refused_with_paths_and_what_was_there_stays() {
    let backend = Backend::start("a").await;
    let stand = Stand::start().await;
    stand.serve(&simple(&backend, 1)).await;
    let mut moved = simple(&backend, 1);
    moved["loadBalancers"][0]["groups"][0]["instances"][0]["address"] = json!("127.0.0.1:1");
    let twice = config(&[
        group(
            "g",
            1,
            &[
                instance("i", &backend, "serve"),
                instance("i", &backend, "serve"),
            ],
        ),
        group("g", 1, &[]),
    ]);
    let nowhere = json!({"routes": [{"path": "x", "loadBalancer": "none"}]});
    for (faulty, path) in [
        (moved, "loadBalancers[0].groups[0].instances[0]: id \"i\""),
        (twice, "loadBalancers[0].groups[1].name: \"g\" stands twice"),
        (nowhere.clone(), "routes[0].path: \"x\""),
        (nowhere, "routes[0].loadBalancer: \"none\""),
        (json!({"surprise": 1}), "body: unknown field `surprise`"),
        (json!({"settings": {"maxTries": 0}}), "settings.maxTries"),
        (
            json!({"loadBalancers": [{"name": "-"}]}),
            "loadBalancers[0].name: \"-\" is reserved",
        ),
    ] {
        let answer = stand.put("\"1\"", 1, &faulty).await;
        assert_eq!(answer.status, 422, "{faulty}");
        let faults = answer.json()["faults"].as_array().unwrap().clone();
        let found = faults
            .iter()
            .any(|fault| fault.as_str().unwrap().starts_with(path));
        assert!(found, "{path}: {faults:?}");
    }
    assert_eq!(stand.state().await["generation"], 1);
    assert_eq!(stand.get("/").await.text(), "a");
}

#[tokio::test]
async fn a_killed_balancer_serves_at_once_what_it_had_acknowledged() {
    let (backend, other) = (Backend::start("a").await, Backend::start("b").await);
    let mut stand = Stand::start().await;
    let roles = config(&[
        group("g", 1, &[instance("i", &backend, "serve")]),
        group("h", 1, &[instance("w", &other, "warm")]),
    ]);
    stand.serve(&roles).await;
    let before = stand.state().await;
    // Sick from now on: what is served after the start is served because the journal says so.
    backend.set_sick(true);
    stand.kill_and_restart().await;
    for _ in 0..5 {
        assert_eq!(stand.get("/").await.text(), "a");
    }
    let after = stand.state().await;
    assert_eq!(after["generation"], before["generation"]);
    assert_ne!(after["epoch"], before["epoch"]);
    backend.set_sick(false);
    stand.wait("i", "serving").await;
    stand.wait("w", "ready").await;
    // Counted on, not anew.
    assert_eq!(stand.set(&simple(&backend, 3)).await, 2);
}

#[tokio::test]
async fn a_damaged_journal_is_kept_and_told_and_nothing_is_guessed() {
    let backend = Backend::start("a").await;
    let mut stand = Stand::start().await;
    stand.serve(&simple(&backend, 1)).await;
    let path = stand.folder.path().join(balancer::JOURNAL);
    let text = std::fs::read_to_string(&path)
        .unwrap()
        .replace("\"weight\":1", "\"weight\":2");
    std::fs::write(&path, &text).unwrap();
    stand.kill_and_restart().await;
    let state = stand.state().await;
    assert!(state["fault"].as_str().unwrap().contains("hash"), "{state}");
    assert_eq!(stand.get("/").await.status, 404);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);

    stand.serve(&simple(&backend, 1)).await;
    assert!(stand.state().await.get("fault").is_none());
    let names = std::fs::read_dir(stand.folder.path()).unwrap();
    let aside = names
        .map(|n| n.unwrap().path())
        .find(|p| p.to_string_lossy().contains("damaged"));
    assert_eq!(std::fs::read_to_string(aside.unwrap()).unwrap(), text);
}

#[tokio::test]
async fn what_cannot_be_journaled_is_refused_and_what_was_there_serves() {
    let backend = Backend::start("a").await;
    let stand = Stand::start().await;
    stand.serve(&simple(&backend, 1)).await;
    // A folder where the new journal is to be written.
    let obstacle = stand
        .folder
        .path()
        .join(format!("{}.new", balancer::JOURNAL));
    std::fs::create_dir(&obstacle).unwrap();
    let answer = stand.put("\"1\"", 1, &simple(&backend, 2)).await;
    assert_eq!(answer.status, 507, "{}", answer.text());
    assert_eq!(stand.state().await["generation"], 1);
    assert_eq!(stand.get("/").await.text(), "a");
    std::fs::remove_dir(&obstacle).unwrap();
    assert_eq!(
        stand.put("\"1\"", 1, &simple(&backend, 2)).await.status,
        200
    );
}

#[tokio::test]
async fn a_second_balancer_on_the_same_folder_refuses_and_names_it() {
    let stand = Stand::start().await;
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_balancer"));
    command
        .arg("--data")
        .arg(stand.folder.path())
        .args(["--listen", "127.0.0.1:0"]);
    let output = command.output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("another balancer runs in") && text.contains("--handover"),
        "{text}"
    );
    assert_eq!(stand.admin("GET /health", &[], b"").await.text(), "UP");
}

#[tokio::test]
async fn only_this_user_may_open_the_admin_socket() {
    use std::os::unix::fs::PermissionsExt;
    let stand = Stand::start().await;
    let mode = std::fs::metadata(stand.socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}
