//! What must hold of a canary config before it is saved, and before it is used (`kayenta: CanaryConfigController`,
//! `ExecutionMapper`). The texts are the original's.

use std::collections::BTreeSet;

use crate::config::CanaryConfig;
use crate::error::Error;
use crate::judges::{Judge, Outlook, Sequential, resolve};
use crate::remote;
use crate::sequential::Settings;
use crate::sequential::unit::Units;

/// Why a config is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It has no name.
    #[error("Canary config must specify a name.")]
    NoName,
    /// Its name has other characters.
    #[error(
        "Canary config cannot be named '{name}'. Names must contain only letters, numbers, dashes (-) and underscores (_)."
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// It is for no application.
    #[error("Canary config must specify at least one application.")]
    NoApplication,
    /// Two metrics have one name.
    #[error("canaryConfig.metrics has two metrics named '{name}': give each a name of its own")]
    DuplicateMetric {
        /// The name.
        name: String,
    },
    /// It compares nothing.
    #[error(
        "The canary config must specify at least one metric. Otherwise we're not analyzing anything. :)"
    )]
    NoMetric,
    /// Its judge is not known.
    #[error(transparent)]
    Judge(#[from] Error),
}

/// Whether `config` may be saved. Whether its name is free in its applications is for whoever keeps configs.
pub fn for_saving(config: &CanaryConfig) -> Result<(), Invalid> {
    let name = config.name.as_deref().unwrap_or_default();
    if name.is_empty() {
        return Err(Invalid::NoName);
    }
    if config.applications.is_empty() {
        return Err(Invalid::NoApplication);
    }
    // The comma is not in the text and is allowed.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-,".contains(c);
    if !name.chars().all(allowed) {
        let name = name.to_owned();
        return Err(Invalid::BadName { name });
    }
    let mut names = BTreeSet::new();
    let mut named = config.metrics.iter().filter_map(|m| m.name.as_deref());
    match named.find(|name| !names.insert(*name)) {
        Some(name) => Err(Invalid::DuplicateMetric {
            name: name.to_owned(),
        }),
        None => match resolve(config.judge.as_deref()) {
            Ok(judge) => sequential(judge, config),
            // Another judge than ours can be saved, as there.
            Err(_) => Ok(()),
        },
    }
}

/// Whether a canary can be judged by `config`: it has a metric, and a judge that exists.
pub fn for_judging(config: &CanaryConfig) -> Result<(), Invalid> {
    if config.metrics.is_empty() {
        return Err(Invalid::NoMetric);
    }
    if config.judge.as_deref() != Some(remote::NAME) {
        let judge = resolve(config.judge.as_deref())?;
        sequential(judge, config)?;
    }
    Ok(())
}

/// Whether the sequential judge can use what is asked of it, as far as that shows without values. The others read options
/// when they judge, and not before.
fn sequential(judge: &dyn Judge, config: &CanaryConfig) -> Result<(), Invalid> {
    if judge.name() == Sequential.name() {
        let settings = Settings::read(config).map_err(Error::from)?;
        Units::of(config, &settings, &[], Outlook::default())?;
    }
    Ok(())
}
