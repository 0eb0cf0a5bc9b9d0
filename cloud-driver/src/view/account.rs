//! Accounts, as `/credentials` shows them.

use serde_json::{Value, json};

use crate::account::Account;
use crate::config::Config;

/// All accounts.
pub fn accounts(config: &Config) -> Vec<Value> {
    config.accounts.iter().map(account).collect()
}

/// One account; no secret is in it, not even a reference to one.
pub fn account(account: &Account) -> Value {
    let environment = account.environment_name.as_deref().unwrap_or(&account.name);
    let regions: Vec<Value> = account
        .regions
        .iter()
        .map(|(name, region)| {
            json!({
                "name": name,
                "hosts": region.hosts,
                "slotsPerHost": region.slots_per_host,
            })
        })
        .collect();
    let permissions = if account.permissions.is_unrestricted() {
        Value::Null
    } else {
        json!(account.permissions)
    };
    json!({
        "name": account.name,
        "environment": environment,
        "accountType": environment,
        "cloudProvider": account.provider,
        "type": account.provider,
        "accountId": account.name,
        "primaryAccount": false,
        "challengeDestructiveActions": false,
        "requiredGroupMembership": [],
        "permissions": permissions,
        "regions": regions,
    })
}
