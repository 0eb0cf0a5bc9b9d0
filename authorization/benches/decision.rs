//! How long a decision takes with 5,000 applications and 20,000 users, and
//! whether that stays within 10 µs. `cargo bench -p authorization`.

use std::hint::black_box;
use std::time::{Duration, Instant};

use authorization::{Permission, Permissions, Policy, Resource, Roles, Subject, decide};

const APPLICATIONS: usize = 5_000;
const USERS: usize = 20_000;
const DECISIONS: usize = 200_000;
const LIMIT: Duration = Duration::from_micros(10);

fn main() {
    let policy: Policy = serde_json::from_value(serde_json::json!({
        "admin-roles": ["root"],
        "prefixes": (0..20).map(|n| serde_json::json!({
            "prefix": format!("application-{n}*"),
            "permissions": {"READ": [format!("group-{n}")]},
        })).collect::<Vec<_>>(),
    }))
    .expect("the policy is well formed");
    let role = |n: usize| format!("role-{}", n % 400);
    let applications: Vec<(String, Permissions)> = (0..APPLICATIONS)
        .map(|n| {
            let roles = |from: usize| (from..from + 10).map(role).collect::<Vec<_>>();
            let permissions = Permissions::new([
                (Permission::Read, roles(n)),
                (Permission::Write, roles(n + 3)),
            ]);
            (format!("application-{n}"), permissions)
        })
        .collect();
    let users: Vec<Subject> = (0..USERS)
        .map(|n| {
            let roles: Roles = (0..20).map(|k| role(n * 7 + k * 13)).collect();
            Subject::user(&policy, &format!("user-{n}"), roles)
        })
        .collect();
    let mut allowed = 0_usize;
    let started = Instant::now();
    for n in 0..DECISIONS {
        let (name, permissions) = &applications[n * 31 % APPLICATIONS];
        let resource = Resource::Application {
            name,
            permissions: Some(permissions),
        };
        let user = &users[n * 17 % USERS];
        let decision = decide(&policy, black_box(user), resource, Permission::Execute);
        allowed += usize::from(decision.is_allowed());
    }
    let each = started.elapsed() / u32::try_from(DECISIONS).expect("the count is small");
    println!("{each:?} per decision, {allowed} of {DECISIONS} allowed");
    assert!(
        each <= LIMIT,
        "a decision took {each:?}, more than {LIMIT:?}"
    );
}
