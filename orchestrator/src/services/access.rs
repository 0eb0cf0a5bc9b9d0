//! Who may do what, for the users that executions act for. The rules are those
//! of the edge; they are asked again here because a pipeline acts long after its
//! start, for somebody who may be another.

use std::sync::Arc;

use async_trait::async_trait;
use authorization::{Decision, Permission, Permissions, Policy, Resource, Roles, Subject, refusal};
use proto::status::{Failure, Kind};
use serde_json::{Value, json};

use super::{Access, Object};
use crate::definition::Definitions;

/// Nobody has to authenticate: everybody may do everything.
#[derive(Debug)]
pub struct Open;

#[async_trait]
impl Access for Open {
    async fn application(&self, _: &str, _: &str, _: Permission) -> Result<(), Failure> {
        Ok(())
    }

    async fn run_as(&self, _: &str, _: &str, _: &str) -> Result<(), Failure> {
        Ok(())
    }

    async fn act_with(&self, _: &str, _: &[String]) -> Result<(), Failure> {
        Ok(())
    }

    async fn roles(&self, _: &str) -> Result<Vec<String>, Failure> {
        Ok(Vec::new())
    }

    async fn permitted(&self, _: &str, _: &str, _: &Value, _: Permission) -> Result<(), Failure> {
        Ok(())
    }
}

/// The operator's rules over what is stored.
pub struct Rules {
    policy: Arc<Policy>,
    definitions: Definitions,
}

fn listed(object: &Value, field: &str) -> Roles {
    let list = object.get(field).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// The permissions stored with an application.
///
/// # Errors
/// `Denied` when they cannot be understood: they then allow nothing.
pub(crate) fn permissions_of(application: &Value) -> Result<Permissions, Failure> {
    match application.get("permissions") {
        None | Some(Value::Null) => Ok(Permissions::default()),
        Some(own) => serde_json::from_value(own.clone()).map_err(|_| {
            let name = application.get("name").and_then(Value::as_str);
            let message = format!(
                "the permissions of application {} are not lists of roles under READ, WRITE, \
                 EXECUTE and CREATE; an administrator can save it anew",
                name.unwrap_or_default()
            );
            Failure::new(Kind::Denied, message)
        }),
    }
}

fn refused(what: &str, permission: Permission, user: &str, decision: Decision) -> Failure {
    let message = refusal(what, permission, Some(user), decision.rule());
    Failure::new(Kind::Denied, message)
}

impl Rules {
    /// Decides by this policy over these definitions.
    pub fn new(policy: Arc<Policy>, definitions: Definitions) -> Self {
        Self {
            policy,
            definitions,
        }
    }

    /// The roles of a service account, else those a user was last seen with.
    async fn known(&self, user: &str) -> Result<Roles, Failure> {
        if let Some(roles) = self.definitions.service_account(user).await? {
            return Ok(roles.into_iter().collect());
        }
        let user = self.definitions.get_object(Object::User, user).await?;
        Ok(user.map(|user| listed(&user, "roles")).unwrap_or_default())
    }

    async fn subject(&self, user: &str) -> Result<Subject, Failure> {
        if user == runtime::auth::AuthContext::ANONYMOUS {
            return Ok(Subject::default());
        }
        Ok(Subject::user(&self.policy, user, self.known(user).await?))
    }

    async fn permissions(&self, application: &str) -> Result<Option<Permissions>, Failure> {
        let Some(stored) = self.definitions.get_application(application).await? else {
            return Ok(None);
        };
        permissions_of(&stored).map(Some)
    }
}

#[async_trait]
impl Access for Rules {
    async fn application(
        &self,
        user: &str,
        application: &str,
        permission: Permission,
    ) -> Result<(), Failure> {
        let subject = self.subject(user).await?;
        let permissions = self.permissions(application).await?;
        let resource = Resource::Application {
            name: application,
            permissions: permissions.as_ref(),
        };
        let decision = authorization::decide(&self.policy, &subject, resource, permission);
        if decision.is_allowed() {
            return Ok(());
        }
        Err(refused(
            &format!("application {application}"),
            permission,
            user,
            decision,
        ))
    }

    async fn run_as(&self, user: &str, application: &str, account: &str) -> Result<(), Failure> {
        let found = self.definitions.service_account(account).await?;
        let Some(found) = found else {
            let message = format!("\"{account}\" is no service account; create it first");
            return Err(Failure::field("runAsUser", message));
        };
        let subject = self.subject(user).await?;
        let permissions = self.permissions(application).await?;
        let resource = Resource::Application {
            name: application,
            permissions: permissions.as_ref(),
        };
        let member_of: Roles = found.into_iter().collect();
        let decision = authorization::decide_run_as(&self.policy, &subject, &member_of, resource);
        if decision.is_allowed() {
            return Ok(());
        }
        let what = format!("service account {account} in application {application}");
        Err(refused(&what, Permission::Execute, user, decision))
    }

    async fn act_with(&self, user: &str, roles: &[String]) -> Result<(), Failure> {
        let subject = self.subject(user).await?;
        let roles: Roles = roles.iter().collect();
        let resource = Resource::ServiceAccount(&roles);
        let decision = authorization::decide(&self.policy, &subject, resource, Permission::Execute);
        if decision.is_allowed() {
            return Ok(());
        }
        let what = "the roles of the pipeline";
        Err(refused(what, Permission::Execute, user, decision))
    }

    async fn roles(&self, user: &str) -> Result<Vec<String>, Failure> {
        let roles = self.known(user).await?;
        Ok(roles.iter().map(ToOwned::to_owned).collect())
    }

    async fn permitted(
        &self,
        user: &str,
        what: &str,
        permissions: &Value,
        permission: Permission,
    ) -> Result<(), Failure> {
        let subject = self.subject(user).await?;
        let permissions = permissions_of(&json!({"name": what, "permissions": permissions}))?;
        let resource = Resource::Application {
            name: what,
            permissions: Some(&permissions),
        };
        let decision = authorization::decide(&self.policy, &subject, resource, permission);
        if decision.is_allowed() {
            return Ok(());
        }
        Err(refused(what, permission, user, decision))
    }
}
