//! Where the servers are, as operators write it in one text.
//!
//! `redis://[user[:password]@]host:port[,host:port…][/database][?option=value&…]`; `rediss` for TLS;
//! `redis-sentinel` and `rediss-sentinel` with the sentinels' addresses and `/master` in place of the database.

use std::path::PathBuf;

use redis::{Client, ClientTlsConfig, ConnectionInfo, IntoConnectionInfo, TlsCertificates};

/// Options, in the order of their meaning.
const OPTIONS: [&str; 7] = [
    "password-file",
    "sentinel-password-file",
    "ca",
    "certificate",
    "key",
    "wait",
    "wait-ms",
];
/// How long replicas may take to confirm, unless said otherwise; milliseconds.
const WAIT_MS: u64 = 1_000;

/// Replicas that must confirm a commit before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) replicas: u32,
    pub(super) timeout_ms: u64,
}

/// What an address says, its files not read yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Address {
    tls: bool,
    credentials: String,
    hosts: Vec<String>,
    database: String,
    /// The name that sentinels know the master by.
    pub(super) master: Option<String>,
    pub(super) wait: Option<Wait>,
    password_file: Option<PathBuf>,
    sentinel_password_file: Option<PathBuf>,
    ca: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Address {
    /// Reads the text.
    ///
    /// # Errors
    /// What is wrong with it, and what is allowed.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (place, options) = text
            .trim()
            .split_once('?')
            .unwrap_or_else(|| (text.trim(), ""));
        let unknown = || {
            "it begins with none of redis://, rediss://, redis-sentinel://, rediss-sentinel://"
                .to_owned()
        };
        let (scheme, rest) = place.split_once("://").ok_or_else(unknown)?;
        let (tls, sentinel) = match scheme {
            "redis" => (false, false),
            "rediss" => (true, false),
            "redis-sentinel" => (false, true),
            "rediss-sentinel" => (true, true),
            _ => return Err(unknown()),
        };
        // Each server may be written with its scheme again.
        let rest = rest.replace(&format!("{scheme}://"), "").replace(' ', "");
        let (rest, path) = rest
            .split_once('/')
            .map_or((rest.as_str(), ""), |(rest, path)| (rest, path));
        // `redis://one/0,redis://two/0`: the database stands behind each.
        let (path, more) = path.split_once(',').unwrap_or((path, ""));
        let (credentials, hosts) = rest.rsplit_once('@').unwrap_or(("", rest));
        let more = more
            .split(',')
            .map(|host| host.split('/').next().unwrap_or_default());
        let hosts = hosts
            .split(',')
            .chain(more)
            .map(|host| host.rsplit('@').next().unwrap_or_default());
        let hosts: Vec<String> = hosts
            .filter(|host| !host.is_empty())
            .map(ToOwned::to_owned)
            .collect();
        if hosts.is_empty() {
            return Err("it names no server; write host:port".to_owned());
        }
        let mut found = Self {
            tls,
            credentials: credentials.to_owned(),
            hosts,
            ..Self::default()
        };
        if sentinel {
            if path.is_empty() {
                return Err("it names no master; write /NAME as the sentinels know it".to_owned());
            }
            found.master = Some(path.to_owned());
        } else {
            path.clone_into(&mut found.database);
        }
        for option in options.split('&').filter(|option| !option.is_empty()) {
            found.set(option)?;
        }
        if found.certificate.is_some() != found.key.is_some() {
            return Err("certificate and key belong together; give both".to_owned());
        }
        Ok(found)
    }

    fn set(&mut self, option: &str) -> Result<(), String> {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let number = || -> Result<u64, String> {
            let number = value.parse().ok().filter(|number| *number > 0);
            number
                .ok_or_else(|| format!("option {name} is \"{value}\", which is no number above 0"))
        };
        let file = Some(PathBuf::from(value)).filter(|_| !value.is_empty());
        match name {
            "wait" => {
                let replicas = u32::try_from(number()?).unwrap_or(u32::MAX);
                let timeout_ms = self.wait.map_or(WAIT_MS, |wait| wait.timeout_ms);
                self.wait = Some(Wait {
                    replicas,
                    timeout_ms,
                });
            }
            "wait-ms" => {
                let replicas = self.wait.map_or(1, |wait| wait.replicas);
                self.wait = Some(Wait {
                    replicas,
                    timeout_ms: number()?,
                });
            }
            "password-file" => self.password_file = file,
            "sentinel-password-file" => self.sentinel_password_file = file,
            "ca" => self.ca = file,
            "certificate" => self.certificate = file,
            "key" => self.key = file,
            _ => {
                let known = OPTIONS.join(", ");
                return Err(format!("it has no option \"{name}\"; known are {known}"));
            }
        }
        Ok(())
    }

    /// The certificates to connect with; none without TLS.
    ///
    /// # Errors
    /// Which file cannot be read.
    pub(super) fn certificates(&self) -> Result<Option<TlsCertificates>, String> {
        if !self.tls {
            return Ok(None);
        }
        // Whoever was here first may have chosen the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client_tls = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => Some(ClientTlsConfig {
                client_cert: read(certificate)?,
                client_key: read(key)?,
            }),
            _ => None,
        };
        let root_cert = self.ca.as_ref().map(read).transpose()?;
        Ok(Some(TlsCertificates {
            client_tls,
            root_cert,
        }))
    }

    /// A client for one server at `host:port`, with the credentials of the store.
    ///
    /// # Errors
    /// A file that cannot be read, or an address that is none.
    pub(super) fn client(&self, host: &str) -> Result<Client, String> {
        let info = self.info(host, &self.credentials, self.password_file.as_ref())?;
        self.connect(info)
    }

    /// A client of each server that is named: those of the store, or its sentinels.
    ///
    /// # Errors
    /// As [`Self::client`].
    pub(super) fn clients(&self) -> Result<Vec<Client>, String> {
        let one = |host: &String| match self.master {
            None => self.client(host),
            Some(_) => self.connect(self.info(host, "", self.sentinel_password_file.as_ref())?),
        };
        self.hosts.iter().map(one).collect()
    }

    fn info(
        &self,
        host: &str,
        credentials: &str,
        password: Option<&PathBuf>,
    ) -> Result<ConnectionInfo, String> {
        let scheme = if self.tls { "rediss" } else { "redis" };
        let at = if credentials.is_empty() { "" } else { "@" };
        let url = format!("{scheme}://{credentials}{at}{host}/{}", self.database);
        let info = url.as_str().into_connection_info();
        // Its error may show the address with the password.
        let info =
            info.map_err(|error| format!("{host} cannot be an address: {}", error.category()))?;
        Ok(match password {
            None => info,
            Some(file) => {
                let text = String::from_utf8_lossy(&read(file)?).trim_end().to_owned();
                let settings = info.redis_settings().clone().set_password(text);
                info.set_redis_settings(settings)
            }
        })
    }

    fn connect(&self, info: ConnectionInfo) -> Result<Client, String> {
        let client = match self.certificates()? {
            None => Client::open(info),
            Some(certificates) => Client::build_with_tls(info, certificates),
        };
        client.map_err(|error| error.to_string())
    }
}

fn read(file: &PathBuf) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("{} cannot be read: {error}", file.display()))
}

/// The text without its credentials.
pub(super) fn shown(text: &str) -> String {
    let one = |url: &str| match url.split_once("://") {
        Some((scheme, rest)) => {
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            format!("{scheme}://{host}")
        }
        None => url.rsplit('@').next().unwrap_or(url).to_owned(),
    };
    let all: Vec<_> = text.split(',').map(|url| one(url.trim())).collect();
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn an_address_is_named_without_its_password() {
        for (text, expected) in [
            (
                "redis://me:secret@one:6379/0, redis://two:6380",
                "redis://one:6379/0,redis://two:6380",
            ),
            (
                "redis-sentinel://:p@one:1,two:2/m",
                "redis-sentinel://one:1,two:2/m",
            ),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn servers_are_separated_by_commas_with_or_without_their_scheme() {
        for text in [
            "redis://me:p@one:1,two:2/3",
            "redis://me:p@one:1/3,redis://me:p@two:2/3",
            "redis://me:p@one:1/3, redis://two:2",
        ] {
            let found = parsed(text);
            assert_eq!(found.hosts, ["one:1", "two:2"], "{text}");
            assert_eq!(
                (found.credentials.as_str(), found.database.as_str()),
                ("me:p", "3"),
                "{text}"
            );
        }
        let sentinel = parsed("rediss-sentinel://one:1,two:2/main?wait=2&wait-ms=50&ca=/c.pem");
        assert_eq!(sentinel.master.as_deref(), Some("main"));
        assert_eq!(
            sentinel.wait,
            Some(Wait {
                replicas: 2,
                timeout_ms: 50
            })
        );
        assert!(sentinel.tls && sentinel.ca.is_some());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("one:6379", "redis://"),
            ("http://one", "redis://"),
            ("redis://", "host:port"),
            ("redis-sentinel://one:1", "/NAME"),
            ("redis://one:1?color=red", "no option \"color\""),
            ("redis://one:1?wait=none", "option wait is \"none\""),
            ("rediss://one:1?certificate=/a", "belong together"),
        ] {
            let error = Address::parse(text).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        let unread = parsed("rediss://one:1?ca=/no/such/file")
            .clients()
            .unwrap_err();
        assert!(unread.contains("/no/such/file"), "{unread}");
    }
}
