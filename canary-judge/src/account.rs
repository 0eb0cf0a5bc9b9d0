//! Accounts: metric stores, as the operator configured them (`kayenta: AccountCredentials`).
//!
//! Owns their names, addresses and where their secrets are; never a secret itself. Its truth is the configuration.

use authorization::Permissions;
use runtime::config::{SecretRef, Span};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;
use url::Url;

/// The account that is there without being configured: what the balancer of this installation measured.
pub const LOCAL: &str = "local";

/// The stores there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Prometheus, and what answers as it does.
    Prometheus,
    /// Graphite.
    Graphite,
    /// InfluxDB 1.x.
    InfluxDb,
    /// Datadog.
    Datadog,
    /// Amazon CloudWatch.
    CloudWatch,
    /// New Relic.
    NewRelic,
    /// The balancer's own history.
    Local,
}

impl Kind {
    /// The `type` of accounts and of queries.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Graphite => "graphite",
            Self::InfluxDb => "influxdb",
            Self::Datadog => "datadog",
            Self::CloudWatch => "cloudwatch",
            Self::NewRelic => "newrelic",
            Self::Local => LOCAL,
        }
    }

    /// Where it is if nobody says: only what is sold as a service is at the same place for all.
    pub(crate) fn default_base_url(self, account: &Account) -> Option<String> {
        match self {
            Self::Datadog => Some("https://api.datadoghq.com".to_owned()),
            Self::NewRelic if account.nerd_graph => Some("https://api.newrelic.com".to_owned()),
            Self::NewRelic => Some("https://insights-api.newrelic.com".to_owned()),
            Self::CloudWatch => {
                let region = account.region.as_deref()?;
                Some(format!("https://monitoring.{region}.amazonaws.com"))
            }
            Self::Prometheus | Self::Graphite | Self::InfluxDb | Self::Local => None,
        }
    }
}

/// What an account can be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Use {
    /// Metrics are read from it.
    MetricsStore,
    /// Metric sets and results are kept in it.
    ObjectStore,
    /// Canary configs are kept in it.
    ConfigurationStore,
    /// It judges.
    RemoteJudge,
}

/// One entry of `canary-judge.accounts`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Account {
    /// Name that configs and stages use.
    pub name: String,
    /// The store: `prometheus`, `graphite`, `influxdb`, `datadog`, `cloudwatch`, `newrelic` or `local`.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What it is used for. Default: `[METRICS_STORE]`, which is all that there is for these stores.
    #[serde(default = "metrics_store", alias = "supportedTypes")]
    pub supported_types: Vec<Use>,
    /// Its address, such as `http://prometheus:9090`. Default: the vendor's, for what is sold as a service.
    #[serde(default, alias = "baseUrl")]
    pub base_url: Option<String>,
    /// Who asks. Default: nobody, without authentication.
    #[serde(default)]
    pub username: Option<String>,
    /// That user's password.
    #[serde(default)]
    pub password: Option<SecretRef>,
    /// A file that holds `user:password`, instead of the two above.
    #[serde(default, alias = "usernamePasswordFile")]
    pub username_password_file: Option<SecretRef>,
    /// Sent as `Authorization: Bearer …`.
    #[serde(default, alias = "bearerToken")]
    pub bearer_token: Option<SecretRef>,
    /// Datadog's API key, New Relic's query or user key.
    #[serde(default, alias = "apiKey")]
    pub api_key: Option<SecretRef>,
    /// Datadog's application key.
    #[serde(default, alias = "applicationKey")]
    pub application_key: Option<SecretRef>,
    /// Prometheus: the label that a scope is looked for in. Default: `instance`.
    #[serde(default = "instance", alias = "scopeLabel")]
    pub scope_label: String,
    /// InfluxDB: the database. Default: that of the query, else the metric's name, as in Kayenta.
    #[serde(default)]
    pub database: Option<String>,
    /// CloudWatch: the region if neither query nor scope name one.
    #[serde(default)]
    pub region: Option<String>,
    /// CloudWatch: who signs.
    #[serde(default, alias = "accessKeyId")]
    pub access_key_id: Option<SecretRef>,
    /// CloudWatch: what signs.
    #[serde(default, alias = "secretAccessKey")]
    pub secret_access_key: Option<SecretRef>,
    /// CloudWatch: the token of temporary keys.
    #[serde(default, alias = "sessionToken")]
    pub session_token: Option<SecretRef>,
    /// New Relic: the account's number.
    #[serde(default, alias = "accountId")]
    pub account_id: Option<String>,
    /// New Relic: ask NerdGraph instead of the Insights API. Default: false.
    #[serde(default, alias = "nerdGraph")]
    pub nerd_graph: bool,
    /// New Relic: the attribute that a scope is looked for in, if the scope does not say.
    #[serde(default, alias = "defaultScopeKey")]
    pub default_scope_key: Option<String>,
    /// New Relic: the attribute that a location is looked for in, if the scope does not say.
    #[serde(default, alias = "defaultLocationKey")]
    pub default_location_key: Option<String>,
    /// How long one answer may take. Default: 30s.
    #[serde(default = "timeout")]
    pub timeout: Span,
    /// The largest answer, in bytes. Default: 33554432.
    #[serde(default = "max_answer_bytes", alias = "maxAnswerBytes")]
    pub max_answer_bytes: usize,
    /// Who may use it (READ), where people have to authenticate. Default: everybody.
    #[serde(default)]
    pub permissions: Permissions,
}

fn metrics_store() -> Vec<Use> {
    vec![Use::MetricsStore]
}

fn instance() -> String {
    "instance".to_owned()
}

fn timeout() -> Span {
    Span(std::time::Duration::from_secs(30))
}

fn max_answer_bytes() -> usize {
    32 * 1024 * 1024
}

/// Why accounts cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// Two of one name.
    #[error("canary-judge.accounts: \"{0}\" is there twice; choose another name")]
    Twice(String),
    /// A field that is missing or cannot be so.
    #[error("canary-judge.accounts.{account}.{field}: {why}")]
    Field {
        /// The account.
        account: String,
        /// The field.
        field: &'static str,
        /// Value and remedy.
        why: String,
    },
    /// There is no such account. The text begins as the original's.
    #[error(
        "Unable to resolve account '{name}'. Known are: {known}; add it to canary-judge.accounts"
    )]
    Unknown {
        /// The name.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// The account is of another store than the metric's query.
    #[error(
        "metric queries of type {wanted} cannot be asked of account '{account}', which is of type {found}: \
         choose an account of type {wanted}, or correct query.type"
    )]
    OtherType {
        /// The account.
        account: String,
        /// Its type.
        found: &'static str,
        /// The query's.
        wanted: String,
    },
    /// No account is of the query's type.
    #[error("no account is of type {wanted}: add one to canary-judge.accounts; known are: {known}")]
    NoneOfType {
        /// The query's type.
        wanted: String,
        /// Accounts there are.
        known: String,
    },
}

impl Account {
    /// The account of this installation's balancer.
    pub fn local() -> Self {
        Self {
            name: LOCAL.to_owned(),
            kind: Kind::Local,
            supported_types: metrics_store(),
            base_url: None,
            username: None,
            password: None,
            username_password_file: None,
            bearer_token: None,
            api_key: None,
            application_key: None,
            scope_label: instance(),
            database: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            account_id: None,
            nerd_graph: false,
            default_scope_key: None,
            default_location_key: None,
            timeout: timeout(),
            max_answer_bytes: max_answer_bytes(),
            permissions: Permissions::default(),
        }
    }

    /// Where the store is, without a slash at the end; empty for `local`.
    ///
    /// # Errors
    /// When nobody says, or it is no address.
    pub(crate) fn address(&self) -> Result<String, Error> {
        if self.kind == Kind::Local {
            return Ok(String::new());
        }
        let given = self.base_url.clone();
        let Some(url) = given.or_else(|| self.kind.default_base_url(self)) else {
            let remedy = if self.kind == Kind::CloudWatch {
                "is missing, and so is region; give one, such as eu-central-1"
            } else {
                "is missing; give the store's address, such as http://127.0.0.1:9090"
            };
            return Err(self.flaw("base-url", remedy));
        };
        let parsed = Url::parse(&url).map_err(|error| {
            let why = format!("{url:?} is no address ({error}); write http://host:port");
            self.flaw("base-url", &why)
        })?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
            let why = format!("{url:?} is no address of HTTP; write http://host:port");
            return Err(self.flaw("base-url", &why));
        }
        if !parsed.username().is_empty() || parsed.password().is_some() {
            let why =
                "holds a user or password, which would end up in logs; use username and password";
            return Err(self.flaw("base-url", why));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(self.flaw("base-url", "holds a query; leave it out"));
        }
        Ok(url.trim_end_matches('/').to_owned())
    }

    fn flaw(&self, field: &'static str, why: &str) -> Error {
        Error::Field {
            account: self.name.clone(),
            field,
            why: why.to_owned(),
        }
    }

    fn check(&self) -> Result<(), Error> {
        if self.name.trim().is_empty() {
            return Err(self.flaw("name", "is empty; give what configs shall call it"));
        }
        self.address()?;
        let ways = [
            self.username.is_some(),
            self.username_password_file.is_some(),
            self.bearer_token.is_some(),
        ];
        if ways.iter().filter(|way| **way).count() > 1 {
            let why = "is beside another way to authenticate; keep one of username, \
                       username-password-file and bearer-token";
            return Err(self.flaw("bearer-token", why));
        }
        if self.timeout.0.is_zero() {
            return Err(self.flaw(
                "timeout",
                "is 0; give how long an answer may take, such as 30s",
            ));
        }
        if self.supported_types != metrics_store() {
            let why = "has more than METRICS_STORE; configs and results are kept by this installation itself";
            return Err(self.flaw("supported-types", why));
        }
        let needed: &[(&'static str, bool)] = match self.kind {
            Kind::Datadog => &[
                ("api-key", self.api_key.is_some()),
                ("application-key", self.application_key.is_some()),
            ],
            Kind::NewRelic => &[
                ("api-key", self.api_key.is_some()),
                ("account-id", self.account_id.is_some()),
            ],
            Kind::CloudWatch => &[
                ("access-key-id", self.access_key_id.is_some()),
                ("secret-access-key", self.secret_access_key.is_some()),
            ],
            Kind::Prometheus | Kind::Graphite | Kind::InfluxDb | Kind::Local => &[],
        };
        match needed.iter().find(|(_, there)| !there) {
            Some((field, _)) => {
                let why = format!("is missing; {} asks for it", self.kind.as_str());
                Err(self.flaw(field, &why))
            }
            None => Ok(()),
        }
    }

    /// As `/credentials` shows it: nothing that is secret, nor where it is kept.
    pub fn shown(&self) -> Value {
        let mut shown = json!({
            "name": self.name,
            "type": self.kind.as_str(),
            "supportedTypes": self.supported_types,
            "locations": [],
            "recommendedLocations": [],
        });
        if let Ok(address) = self.address()
            && !address.is_empty()
        {
            shown["endpoint"] = json!({"baseUrl": address});
        }
        shown
    }
}

/// All accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accounts(Vec<Account>);

impl Accounts {
    /// Those configured, and [`LOCAL`] if no other has its name.
    ///
    /// # Errors
    /// The first that cannot be used.
    pub fn new(mut configured: Vec<Account>) -> Result<Self, Error> {
        if !configured.iter().any(|account| account.name == LOCAL) {
            configured.push(Account::local());
        }
        for (index, account) in configured.iter().enumerate() {
            account.check()?;
            let before = configured.iter().take(index);
            if before.into_iter().any(|other| other.name == account.name) {
                return Err(Error::Twice(account.name.clone()));
            }
        }
        Ok(Self(configured))
    }

    /// In the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.0.iter()
    }

    fn known(&self) -> String {
        let names = self
            .0
            .iter()
            .map(|a| format!("{} ({})", a.name, a.kind.as_str()));
        names.collect::<Vec<_>>().join(", ")
    }

    /// The account of this name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(&self, name: &str) -> Result<&Account, Error> {
        let found = self.0.iter().find(|account| account.name == name);
        found.ok_or_else(|| Error::Unknown {
            name: name.to_owned(),
            known: self.known(),
        })
    }

    /// The account that a query of type `kind` is asked of: the named one, or the first of its type if none is named.
    ///
    /// # Errors
    /// When there is none of this name or type, or the named one is of another.
    pub fn of_query(&self, name: &str, kind: &str) -> Result<&Account, Error> {
        let wanted = kind.to_owned();
        if name.is_empty() {
            let found = self.0.iter().find(|account| account.kind.as_str() == kind);
            return found.ok_or_else(|| Error::NoneOfType {
                wanted,
                known: self.known(),
            });
        }
        let account = self.named(name)?;
        if account.kind.as_str() != kind {
            return Err(Error::OtherType {
                account: name.to_owned(),
                found: account.kind.as_str(),
                wanted,
            });
        }
        Ok(account)
    }
}

#[cfg(test)]
mod tests;
