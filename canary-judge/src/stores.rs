//! The metric stores that runs ask, by account, and who may use them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use authorization::{Permission, Policy, Resource, Subject, decide, refusal};
use proto::status::{Failure, Kind as Fault};
use runtime::auth::AuthContext;
use serde_json::Value;

use crate::account::{Account, Accounts, Kind};
use crate::source::{self, History, Source};

/// Accounts with their metric stores.
pub trait Stores: Send + Sync + Debug {
    /// The store of an account, or without a name the first of this type.
    ///
    /// # Errors
    /// `Invalid` with the names there are.
    fn store(&self, account: &str, kind: &str) -> Result<Arc<dyn Source>, Failure>;

    /// The store of an account, or without a name the first.
    ///
    /// # Errors
    /// `Invalid` with the names there are.
    fn any(&self, account: &str) -> Result<Arc<dyn Source>, Failure>;

    /// Whether somebody may use the account that [`Stores::store`] finds, or with an empty `kind` the one that
    /// [`Stores::any`] does. One that is not found is refused there.
    ///
    /// # Errors
    /// `Denied`, with the rule.
    fn may_use(&self, caller: &AuthContext, account: &str, kind: &str) -> Result<(), Failure> {
        let _everybody = (caller, account, kind);
        Ok(())
    }

    /// Whether a run of `application` may be told of `subject`, a scope. Whoever starts a run has to have a permission on
    /// its application; `local` knows all applications, of which it tells no other.
    ///
    /// # Errors
    /// `Denied`, with the remedy.
    fn may_tell(
        &self,
        application: &str,
        (account, kind): (&str, &str),
        subject: &str,
    ) -> Result<(), Failure> {
        let _everything = (application, account, kind, subject);
        Ok(())
    }

    /// The accounts that somebody may use, as `/credentials` shows them.
    fn list(&self, caller: &AuthContext) -> Vec<Value>;
}

/// The stores of the configuration.
#[derive(Debug)]
pub(crate) struct Configured {
    accounts: Accounts,
    sources: BTreeMap<String, Arc<dyn Source>>,
    /// The rules of who may do what, where people have to authenticate.
    policy: Option<Arc<Policy>>,
}

impl Configured {
    /// Opens them all.
    ///
    /// # Errors
    /// The account that cannot be used, and why.
    pub(crate) fn new(
        accounts: &[Account],
        history: Arc<dyn History>,
        policy: Option<Arc<Policy>>,
    ) -> Result<Self, String> {
        let accounts = Accounts::new(accounts.to_vec()).map_err(|error| error.to_string())?;
        let opened = accounts.iter().map(|account| {
            let source = source::source(account, &history);
            let told = |error| format!("canary-judge.accounts.{}: {error}", account.name);
            Ok((account.name.clone(), source.map_err(told)?))
        });
        let sources = opened.collect::<Result<_, String>>()?;
        Ok(Self {
            accounts,
            sources,
            policy,
        })
    }

    /// READ of the account.
    fn allowed(&self, caller: &AuthContext, account: &Account) -> Result<(), Failure> {
        let Some(policy) = &self.policy else {
            return Ok(());
        };
        let subject = match caller.user.as_str() {
            AuthContext::ANONYMOUS => Subject::default(),
            user => Subject::user(policy, user, caller.roles.iter().collect()),
        };
        let resource = Resource::Configured(&account.permissions);
        let decision = decide(policy, &subject, resource, Permission::Read);
        if decision.is_allowed() {
            return Ok(());
        }
        let what = format!("metrics account {}", account.name);
        let message = refusal(&what, Permission::Read, None, decision.rule());
        Err(Failure::new(Fault::Denied, message))
    }

    fn of(&self, account: &Account) -> Result<Arc<dyn Source>, Failure> {
        let found = self.sources.get(&account.name).cloned();
        found.ok_or_else(|| Failure::internal(format!("account {} has no store", account.name)))
    }
}

fn unknown(error: &dyn std::fmt::Display) -> Failure {
    Failure::invalid(error.to_string(), Vec::new())
}

impl Stores for Configured {
    fn store(&self, account: &str, kind: &str) -> Result<Arc<dyn Source>, Failure> {
        let found = self.accounts.of_query(account, kind);
        self.of(found.map_err(|error| unknown(&error))?)
    }

    fn any(&self, account: &str) -> Result<Arc<dyn Source>, Failure> {
        let first = self.accounts.iter().next();
        match first.filter(|_| account.is_empty()) {
            Some(first) => self.of(first),
            None => {
                let found = self.accounts.named(account);
                self.of(found.map_err(|error| unknown(&error))?)
            }
        }
    }

    fn may_use(&self, caller: &AuthContext, account: &str, kind: &str) -> Result<(), Failure> {
        let found = match (account, kind) {
            ("", "") => self.accounts.iter().next(),
            (account, "") => self.accounts.named(account).ok(),
            (account, kind) => self.accounts.of_query(account, kind).ok(),
        };
        found.map_or(Ok(()), |account| self.allowed(caller, account))
    }

    fn may_tell(
        &self,
        application: &str,
        (account, kind): (&str, &str),
        subject: &str,
    ) -> Result<(), Failure> {
        let found = self.accounts.of_query(account, kind).ok();
        let is_local = found.is_some_and(|account| account.kind == Kind::Local);
        let of = source::application_of(subject);
        if self.policy.is_none() || !is_local || of.eq_ignore_ascii_case(application) {
            return Ok(());
        }
        let message = format!(
            "scope {subject:?} is of application {of:?}, and the run of {application:?}, which is told of its own server \
             groups only: start it as one of application {of:?}"
        );
        Err(Failure::new(Fault::Denied, message))
    }

    fn list(&self, caller: &AuthContext) -> Vec<Value> {
        let all = self.accounts.iter();
        let usable = all.filter(|account| self.allowed(caller, account).is_ok());
        usable.map(Account::shown).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[derive(Debug)]
    struct Nothing;

    #[async_trait::async_trait]
    impl History for Nothing {
        async fn traffic(&self, _: &str, _: u32) -> Result<Value, Failure> {
            Ok(Value::Null)
        }
        fn now_ms(&self) -> i64 {
            0
        }
    }

    #[test]
    fn an_account_is_used_by_who_may_read_it_where_people_authenticate() {
        let accounts: Vec<Account> = serde_json::from_value(json!([
            {"name": "open", "type": "graphite", "base-url": "http://127.0.0.1:1"},
            {"name": "closed", "type": "prometheus", "base-url": "http://127.0.0.1:1",
             "permissions": {"READ": ["team"]}},
        ]))
        .unwrap();
        let of = |policy| Configured::new(&accounts, Arc::new(Nothing), policy).unwrap();
        let enforced = of(Some(Arc::new(Policy::default())));
        let caller = |roles: &[&str]| AuthContext {
            user: "ann".to_owned(),
            roles: roles.iter().map(|r| (*r).to_owned()).collect(),
            ..AuthContext::default()
        };
        for (roles, account, kind, allowed) in [
            (vec!["team"], "closed", "prometheus", true),
            (vec![], "closed", "prometheus", false),
            // The first of its type is the same account.
            (vec![], "", "prometheus", false),
            (vec![], "closed", "", false),
            (vec![], "open", "graphite", true),
            (vec![], "none", "graphite", true),
        ] {
            let told = enforced.may_use(&caller(&roles), account, kind);
            assert_eq!(told.is_ok(), allowed, "{roles:?} {account} {kind}");
            assert!(of(None).may_use(&caller(&roles), account, kind).is_ok());
        }
        for (application, account, kind, scope, allowed) in [
            ("mine", "", "local", "mine-v001", true),
            ("MINE", "local", "local", "Mine-prod-v001", true),
            ("mine", "", "local", "other-v001", false),
            ("mine", "", "local", "mineral-v001", false),
            ("ad-hoc", "local", "local", "ad-v001", false),
            // Whose the others' scopes are, only their operator knows.
            ("mine", "open", "graphite", "other-v001", true),
        ] {
            let told = enforced.may_tell(application, (account, kind), scope);
            assert_eq!(told.is_ok(), allowed, "{application} {kind} {scope}");
            let free = of(None).may_tell(application, (account, kind), scope);
            assert!(free.is_ok());
        }
        let shown = |roles| enforced.list(&caller(roles)).len();
        assert_eq!(shown(&["team"]), shown(&[]) + 1);
        let denied = enforced.may_use(&caller(&[]), "closed", "").unwrap_err();
        assert!(
            denied.message.contains("metrics account closed"),
            "{denied}"
        );
    }
}
