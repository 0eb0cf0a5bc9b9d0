//! Who may do what: the gateway's questions to the rules of `authorization`.
//!
//! Permissions are read with each request from where they are stored, so a
//! change counts at the next one. What is refused names the rule.

mod canary;
mod directory;
mod enforce;
mod filter;
mod needs;
mod target;

use std::collections::{BTreeMap, HashMap};

use authorization::{
    Decision, Permission, Permissions, Resource, Roles, Subject, decide, decide_run_as, refusal,
};
use http::StatusCode;
use proto::cloud_driver::v1::ListAccountsRequest;
use proto::orchestrator::v1::{
    ApplicationName, GetExecutionRequest, ListApplicationsRequest, PipelineKey,
};
use proto::trigger::v1::ExplainMasterRequest;
use runtime::auth::AuthContext;
use serde_json::{Value, json};

use crate::Gateway;
use crate::answer::{value, values};
use crate::clients::answer;
use crate::error::Error;
use crate::identity::is_name;
use crate::request::Caller;

pub(crate) use directory::Directory;
pub(crate) use enforce::enforce;

/// From this many applications on, all are read at once.
const MANY: usize = 16;

/// What a caller may do.
#[derive(Clone, Copy)]
pub(crate) struct Access<'a> {
    gate: &'a Gateway,
    caller: &'a Caller,
}

/// The permissions stored with an application.
///
/// # Errors
/// When they cannot be understood: they then allow nothing.
fn stored(application: &Value) -> Result<Permissions, Error> {
    let attributes = application.get("attributes");
    let own = application.get("permissions");
    match own.or_else(|| attributes.and_then(|a| a.get("permissions"))) {
        None | Some(Value::Null) => Ok(Permissions::default()),
        Some(given) => serde_json::from_value(given.clone()).map_err(|_| {
            let message = "Access denied: the application's permissions are not lists of roles under \
                           READ, WRITE, EXECUTE and CREATE; an administrator can save it anew";
            Error::new(StatusCode::FORBIDDEN, message)
        }),
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn cut(name: &str) -> String {
    name.chars().take(100).collect()
}

fn refused(what: &str, permission: Permission, decision: Decision) -> Error {
    let message = refusal(what, permission, None, decision.rule());
    Error::new(StatusCode::FORBIDDEN, message)
}

impl<'a> Access<'a> {
    pub(crate) fn of(gate: &'a Gateway, caller: &'a Caller) -> Self {
        Self { gate, caller }
    }

    /// The caller to the rules, unless it may do everything anyway.
    fn limited(&self) -> Option<&'a Subject> {
        let unlimited = |subject: &&Subject| !subject.admin || subject.scope.is_some();
        self.caller.subject().filter(unlimited)
    }

    /// Only for administrators.
    pub(crate) fn admin(&self) -> Result<(), Error> {
        let Some(subject) = self.limited() else {
            return Ok(());
        };
        let decision = decide(
            &self.gate.policy,
            subject,
            Resource::System,
            Permission::Write,
        );
        if decision.is_allowed() {
            Ok(())
        } else {
            Err(refused("the installation", Permission::Write, decision))
        }
    }

    /// The stored permissions of an application; none if it is not stored.
    async fn permissions(&self, name: &str) -> Result<Option<Permissions>, Error> {
        let call = self.caller.request(ApplicationName {
            name: name.to_lowercase(),
        });
        match answer(self.gate.clients.definitions.clone().get_application(call)).await {
            Ok(found) => stored(&value(&found)?).map(Some),
            Err(error) if error.status() == StatusCode::NOT_FOUND => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The decision about an application, for anybody.
    pub(crate) async fn decision(
        &self,
        subject: &Subject,
        name: &str,
        permission: Permission,
    ) -> Result<Decision, Error> {
        let permissions = self.permissions(name).await?;
        let resource = Resource::Application {
            name,
            permissions: permissions.as_ref(),
        };
        Ok(decide(&self.gate.policy, subject, resource, permission))
    }

    pub(crate) async fn application(
        &self,
        name: &str,
        permission: Permission,
    ) -> Result<(), Error> {
        let Some(subject) = self.limited() else {
            return Ok(());
        };
        let decision = self.decision(subject, name, permission).await?;
        if decision.is_allowed() {
            return Ok(());
        }
        Err(refused(
            &format!("application {}", cut(name)),
            permission,
            decision,
        ))
    }

    /// Which of these applications may be read; none: all of them.
    pub(crate) async fn readable(
        &self,
        names: &[String],
    ) -> Result<Option<HashMap<String, bool>>, Error> {
        let Some(subject) = self.limited() else {
            return Ok(None);
        };
        let mut may = HashMap::new();
        if names.len() < MANY {
            for name in names {
                let decision = self.decision(subject, name, Permission::Read).await;
                may.insert(
                    name.to_lowercase(),
                    decision.is_ok_and(Decision::is_allowed),
                );
            }
            return Ok(Some(may));
        }
        let known = self.all_permissions().await?;
        for name in names {
            let name = name.to_lowercase();
            let read = known
                .get(&name)
                .map_or(Some(None), |own| own.as_ref().map(Some));
            let decision = read.map(|permissions| {
                let resource = Resource::Application {
                    name: &name,
                    permissions,
                };
                decide(&self.gate.policy, subject, resource, Permission::Read)
            });
            let read = decision.is_some_and(Decision::is_allowed);
            may.insert(name, read);
        }
        Ok(Some(may))
    }

    /// The permissions of every stored application, by its name in lower case; none where
    /// they cannot be understood.
    async fn all_permissions(&self) -> Result<HashMap<String, Option<Permissions>>, Error> {
        let call = self.caller.request(ListApplicationsRequest::default());
        let listed = answer(
            self.gate
                .clients
                .definitions
                .clone()
                .list_applications(call),
        )
        .await?;
        let mut known = HashMap::new();
        for application in values(&listed.items)? {
            known.insert(
                text(&application, "name").to_lowercase(),
                stored(&application).ok(),
            );
        }
        Ok(known)
    }

    /// The configured permissions of every account.
    async fn account_permissions(&self) -> Result<BTreeMap<String, Option<Permissions>>, Error> {
        let call = self.caller.request(ListAccountsRequest {});
        let listed = answer(self.gate.clients.query.clone().list_accounts(call)).await?;
        let mut known = BTreeMap::new();
        for account in values(&listed.items)? {
            let own = account.get("permissions").filter(|own| !own.is_null());
            let own = own.map_or_else(
                || Some(Permissions::default()),
                |own| serde_json::from_value(own.clone()).ok(),
            );
            known.insert(text(&account, "name").to_owned(), own);
        }
        Ok(known)
    }

    /// Which accounts the caller may do this to; none: all of them.
    pub(crate) async fn accounts(
        &self,
        permission: Permission,
    ) -> Result<Option<BTreeMap<String, Decision>>, Error> {
        let Some(subject) = self.limited() else {
            return Ok(None);
        };
        let known = self.account_permissions().await?;
        let decided = known.into_iter().filter_map(|(name, own)| {
            let resource = Resource::Configured(own.as_ref()?);
            Some((
                name,
                decide(&self.gate.policy, subject, resource, permission),
            ))
        });
        Ok(Some(decided.collect()))
    }

    /// The decision about an account, for anybody; one that is not there names no roles.
    pub(crate) async fn account_decision(
        &self,
        subject: &Subject,
        name: &str,
        permission: Permission,
    ) -> Result<Decision, Error> {
        let mut known = self.account_permissions().await?;
        let own = known.remove(name).flatten().unwrap_or_default();
        Ok(decide(
            &self.gate.policy,
            subject,
            Resource::Configured(&own),
            permission,
        ))
    }

    /// An account; one that does not exist is the handler's to say.
    pub(crate) async fn account(&self, name: &str, permission: Permission) -> Result<(), Error> {
        let Some(known) = self.accounts(permission).await? else {
            return Ok(());
        };
        match known.get(name) {
            Some(decision) if !decision.is_allowed() => Err(refused(
                &format!("account {}", cut(name)),
                permission,
                *decision,
            )),
            _ => Ok(()),
        }
    }

    /// The decision about a build server, for anybody, as trigger tells it: `allowed`, `rule`, `because`.
    pub(crate) async fn build_server_decision(
        &self,
        subject: &Subject,
        name: &str,
        permission: Permission,
    ) -> Result<Value, Error> {
        let by = AuthContext {
            user: subject
                .name
                .clone()
                .unwrap_or_else(|| AuthContext::ANONYMOUS.to_owned()),
            roles: subject.roles.iter().map(ToOwned::to_owned).collect(),
            ..AuthContext::default()
        };
        let call = by.request(ExplainMasterRequest {
            master: name.to_owned(),
            permission: json!(permission).as_str().unwrap_or_default().to_owned(),
        });
        value(&answer(self.gate.clients.builds.clone().explain(call)).await?)
    }

    /// What the credential was narrowed to is known here alone; whose roles a build server lists, trigger.
    pub(crate) fn build_server(&self) -> Result<(), Error> {
        let Some(subject) = self.limited() else {
            return Ok(());
        };
        let unrestricted = Permissions::default();
        let resource = Resource::Configured(&unrestricted);
        let decision = decide(&self.gate.policy, subject, resource, Permission::Read);
        if decision.is_allowed() {
            Ok(())
        } else {
            Err(refused("build services", Permission::Read, decision))
        }
    }

    /// The application of an execution.
    pub(crate) async fn execution(&self, id: &str, permission: Permission) -> Result<(), Error> {
        if self.limited().is_none() {
            return Ok(());
        }
        let call = self.caller.request(GetExecutionRequest {
            id: id.to_owned(),
            ..GetExecutionRequest::default()
        });
        let found = answer(self.gate.clients.executions.clone().get(call)).await;
        // What is not there is the handler's to say, and it does nothing.
        match found {
            Ok(found) => {
                self.application(text(&value(&found)?, "application"), permission)
                    .await
            }
            Err(error) if error.status() == StatusCode::NOT_FOUND => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The application of a stored pipeline.
    pub(crate) async fn pipeline(&self, id: &str, permission: Permission) -> Result<(), Error> {
        if self.limited().is_none() {
            return Ok(());
        }
        let call = self.caller.request(PipelineKey {
            id: id.to_owned(),
            ..PipelineKey::default()
        });
        match answer(self.gate.clients.definitions.clone().get_pipeline(call)).await {
            Ok(found) => {
                self.application(text(&value(&found)?, "application"), permission)
                    .await
            }
            Err(error) if error.status() == StatusCode::NOT_FOUND => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether the caller may give a pipeline these roles: it acts with them.
    pub(crate) fn act_with(&self, roles: &Roles) -> Result<(), Error> {
        let Some(subject) = self.limited() else {
            return Ok(());
        };
        let resource = Resource::ServiceAccount(roles);
        let decision = decide(&self.gate.policy, subject, resource, Permission::Execute);
        if decision.is_allowed() {
            return Ok(());
        }
        Err(refused(
            "the roles of the pipeline",
            Permission::Execute,
            decision,
        ))
    }

    /// Whether what the caller saves or starts in an application may run as somebody else.
    pub(crate) async fn run_as(
        &self,
        application: &str,
        account: &str,
        field: &str,
    ) -> Result<(), Error> {
        let Some(subject) = self.caller.subject() else {
            return Ok(());
        };
        let found = match is_name(account) {
            true => crate::identity::service_account(&self.gate.clients, account).await?,
            false => None,
        };
        let Some(member_of) = found else {
            let message = format!(
                "\"{}\" is no service account; use one of GET /auth/user/serviceAccounts",
                cut(account)
            );
            return Err(Error::field(field, message));
        };
        let permissions = self.permissions(application).await?;
        let resource = Resource::Application {
            name: application,
            permissions: permissions.as_ref(),
        };
        let decision = decide_run_as(&self.gate.policy, subject, &member_of, resource);
        if decision.is_allowed() {
            return Ok(());
        }
        let what = format!(
            "service account {} in application {}",
            cut(account),
            cut(application)
        );
        Err(refused(&what, Permission::Execute, decision))
    }
}
