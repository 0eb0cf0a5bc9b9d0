//! Operations are refused to whoever may not write the account, or the application they
//! really act on.

use serde_json::json;
use tonic::Code;

use crate::world::World;

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_needs_its_account_and_its_real_application() {
    let world = World::guarded();
    let create = json!({
        "account": "prod", "region": "local", "application": "shop", "stack": "x",
        "imageId": "test/demo:1", "capacity": {"desired": 0},
    });
    let destroy = json!({"account": "prod", "region": "local", "serverGroupName": "shop-x-v000"});
    let disguised = json!({
        "account": "prod", "region": "local", "application": "mine", "moniker": {"app": "mine"},
        "serverGroupName": "shop-x-v000",
    });
    let sequence = |second: &serde_json::Value| {
        let own = json!({"account": "prod", "region": "local", "serverGroupName": "mine-v000"});
        json!({"account": "prod", "region": "local", "operations": [
            {"destroyServerGroup": own}, {"destroyServerGroup": second},
        ]})
    };
    for (what, roles, applications, kind, input, refused) in [
        (
            "another's account",
            "other",
            "shop",
            "createServerGroup",
            &create,
            Some("account prod"),
        ),
        (
            "another's application",
            "team",
            "mine",
            "createServerGroup",
            &create,
            Some("application shop"),
        ),
        (
            "a name that hides it",
            "team",
            "mine",
            "destroyServerGroup",
            &disguised,
            Some("application shop"),
        ),
        (
            "the second of two",
            "team",
            "mine",
            "operations",
            &sequence(&destroy),
            Some("application shop"),
        ),
        (
            "one's own",
            "team",
            "shop",
            "createServerGroup",
            &create,
            None,
        ),
    ] {
        let answer = world
            .submit_as(&[roles], &[applications], kind, input)
            .await;
        match (refused, answer) {
            (None, answer) => assert!(answer.is_ok(), "{what}: {answer:?}"),
            (Some(named), Ok(_)) => panic!("{what} was accepted: {named}"),
            (Some(named), Err(status)) => {
                assert_eq!(status.code(), Code::PermissionDenied, "{what}: {status}");
                assert!(status.message().contains(named), "{what}: {status}");
            }
        }
    }
}
