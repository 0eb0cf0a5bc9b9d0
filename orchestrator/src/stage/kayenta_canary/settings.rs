//! What a canary stage asks for: `canaryConfig` of its context, read once and checked. Pure.
//!
//! Numbers may be texts, and what is null or empty is absent: so the page of Spinnaker writes it. Fields that count
//! minutes have a twin that counts seconds (`canaryAnalysisIntervalSeconds`), which goes first. Source: `orca:
//! KayentaCanaryContext`.

use orchestrator_core::graph::Fault;
use serde_json::{Map, Value};

use super::duration::{count_ms, iso_ms};
use super::scopes::Scope;
use super::thresholds::{DEFAULT_THRESHOLDS, Thresholds};

/// Judgements of one stage; each is a stage of its own.
pub(in crate::stage) const MOST_INTERVALS: u64 = 500;
const MINUTE_MS: u64 = 60_000;
/// All of it. Times are milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::stage) struct Settings {
    pub(in crate::stage) config_id: Option<String>,
    pub(in crate::stage) config_name: Option<String>,
    /// `metricsAccountName`, `configurationAccountName`, `storageAccountName`, as far as they are named.
    pub(in crate::stage) accounts: Map<String, Value>,
    pub(in crate::stage) scopes: Vec<Scope>,
    pub(in crate::stage) thresholds: Thresholds,
    /// Of the first scope, which counts for all; Unix.
    pub(in crate::stage) start_ms: Option<i64>,
    pub(in crate::stage) end_ms: Option<i64>,
    pub(in crate::stage) step_s: u64,
    pub(in crate::stage) lifetime_ms: Option<u64>,
    pub(in crate::stage) warm_up_ms: u64,
    pub(in crate::stage) interval_ms: Option<u64>,
    pub(in crate::stage) lookback_ms: u64,
    pub(in crate::stage) offset_ms: u64,
    pub(in crate::stage) site_local: Map<String, Value>,
}

/// When and how often is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::stage) struct Schedule {
    /// The first window's beginning, without the warm-up; Unix.
    pub(in crate::stage) base_ms: i64,
    /// In front of the first window; none of it when the end is given.
    pub(in crate::stage) warm_up_ms: u64,
    pub(in crate::stage) lifetime_ms: u64,
    pub(in crate::stage) interval_ms: u64,
    pub(in crate::stage) count: u64,
    /// The data are there already, so nothing is waited for.
    pub(in crate::stage) retrospective: bool,
}

type Faults = Vec<(String, String)>;

impl Settings {
    /// Reads the `canaryConfig` of a stage.
    ///
    /// # Errors
    /// Every field that is wrong, with the remedy; paths are below `canaryConfig`.
    pub(in crate::stage) fn of(config: &Map<String, Value>) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        let listed = config.get("scopes").and_then(Value::as_array);
        let listed = listed.map_or(&[][..], Vec::as_slice);
        if listed.is_empty() {
            let message = "Canary stage configuration must contain at least one scope.";
            faults.push(("scopes".to_owned(), message.to_owned()));
        }
        let mut scopes = Vec::new();
        for (n, scope) in listed.iter().enumerate() {
            match Scope::of(scope) {
                Ok(scope) => scopes.push(scope),
                Err((field, message)) => faults.push((format!("scopes[{n}]{field}"), message)),
            }
        }
        let first = listed.first();
        let mut instant = |key: &str| {
            let found = first.and_then(|scope| text(scope.get(key)?));
            let parsed = found.map(|text| text.parse::<jiff::Timestamp>().map_err(|_| text));
            match parsed {
                None => None,
                Some(Ok(at)) => Some(at.as_millisecond()),
                Some(Err(text)) => {
                    let message =
                        format!("\"{text}\" is no time; write it like 2026-01-31T09:00:00Z");
                    faults.push((format!("scopes[0].{key}"), message));
                    None
                }
            }
        };
        let (start_ms, end_ms) = (instant("startTimeIso"), instant("endTimeIso"));
        let step = first.and_then(|scope| scope.get("step"));
        let step_s = match count_ms(step, 1.0) {
            Ok(None) => 60,
            Ok(Some(step)) if step > 0 => step,
            Ok(Some(_)) | Err(_) => {
                let message = "it is no number of seconds of at least 1; correct it";
                faults.push(("scopes[0].step".to_owned(), message.to_owned()));
                60
            }
        };
        let thresholds = Thresholds::of(config.get("scoreThresholds"));
        let thresholds = thresholds.unwrap_or_else(|fault| {
            faults.push(fault);
            DEFAULT_THRESHOLDS
        });
        let mut count = |keys: &[(&str, f64)]| {
            for (key, unit) in keys {
                match count_ms(config.get(*key), *unit) {
                    Ok(None) => {}
                    Ok(found) => return found,
                    Err(message) => faults.push(((*key).to_owned(), message)),
                }
            }
            None
        };
        let (second, minute) = (1_000.0, 60_000.0);
        let hours = count(&[("lifetimeHours", 3_600_000.0)]);
        let warm_up = count(&[
            ("beginCanaryAnalysisAfterSeconds", second),
            ("beginCanaryAnalysisAfterMins", minute),
        ]);
        let interval = count(&[
            ("canaryAnalysisIntervalSeconds", second),
            ("canaryAnalysisIntervalMins", minute),
        ]);
        let lookback = count(&[("lookbackSeconds", second), ("lookbackMins", minute)]);
        let offset = count(&[
            ("baselineAnalysisOffsetSeconds", second),
            ("baselineAnalysisOffsetInMins", minute),
        ]);
        let lifetime = match config.get("lifetimeDuration").and_then(text) {
            None => hours,
            Some(text) => iso_ms(text).map(Some).unwrap_or_else(|message| {
                faults.push(("lifetimeDuration".to_owned(), message));
                None
            }),
        };
        let said = |key: &str| config.get(key).and_then(text).is_some();
        if end_ms.is_none() && lifetime.is_none() && !said("lifetimeDuration") && faults.is_empty()
        {
            let message =
                "Canary stage configuration must include either `endTime` or `lifetimeDuration`.";
            faults.push(("lifetimeDuration".to_owned(), message.to_owned()));
        }
        let (config_id, config_name) = (
            config.get("canaryConfigId").and_then(text),
            config.get("canaryConfigName").and_then(text),
        );
        if config_id.is_none() && config_name.is_none() {
            let message =
                "it is missing; name the canary config by canaryConfigId or canaryConfigName";
            faults.push(("canaryConfigId".to_owned(), message.to_owned()));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            config_id: config_id.map(ToOwned::to_owned),
            config_name: config_name.map(ToOwned::to_owned),
            accounts: accounts(config),
            scopes,
            thresholds,
            start_ms,
            end_ms,
            step_s,
            lifetime_ms: lifetime,
            warm_up_ms: warm_up.unwrap_or(0),
            interval_ms: interval,
            lookback_ms: lookback.unwrap_or(0),
            offset_ms: offset.unwrap_or(0),
            site_local: config
                .get("siteLocal")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
        })
    }

    /// The same for a stage that begins, in one sentence.
    pub(in crate::stage) fn read(config: Option<&Value>) -> Result<Self, String> {
        let Some(config) = config.and_then(Value::as_object) else {
            return Err("canaryConfig is missing; say what to judge".to_owned());
        };
        Self::of(config).map_err(|faults| {
            let lines = faults.iter();
            let lines: Vec<_> = lines
                .map(|(path, why)| format!("canaryConfig.{path}: {why}"))
                .collect();
            lines.join("; ")
        })
    }

    /// When and how often to judge if it begins now (`orca: RunCanaryIntervalsStage`).
    ///
    /// Differs from Spinnaker: a lifetime under one minute is judged once, there it divides by zero.
    ///
    /// # Errors
    /// When there is nothing to judge between start and end.
    pub(in crate::stage) fn schedule(&self, now_ms: i64) -> Result<Schedule, String> {
        let base_ms = self.start_ms.unwrap_or(now_ms);
        let lifetime_ms = match self.end_ms {
            None => self.lifetime_ms.unwrap_or(0),
            Some(end) => {
                let span = u64::try_from(end - base_ms).unwrap_or(0);
                let by_minutes = self.interval_ms.is_none_or(|i| i % MINUTE_MS == 0);
                // As there: whole minutes only, where there are any.
                if by_minutes && span >= MINUTE_MS {
                    span - span % MINUTE_MS
                } else {
                    span
                }
            }
        };
        if lifetime_ms == 0 {
            return Err(match self.end_ms {
                Some(_) => "canaryConfig.scopes[0].endTimeIso: it is not after startTimeIso; correct one of them",
                None => "canaryConfig.lifetimeDuration: it is no time at all; write it like PT1H",
            }
            .to_owned());
        }
        let interval = self.interval_ms.filter(|i| *i > 0 && *i <= lifetime_ms);
        let interval_ms = interval.unwrap_or(lifetime_ms);
        let count = lifetime_ms / interval_ms;
        let retrospective = self.end_ms.is_some();
        Ok(Schedule {
            base_ms,
            warm_up_ms: if retrospective { 0 } else { self.warm_up_ms },
            lifetime_ms,
            interval_ms,
            count,
            retrospective,
        })
    }

    /// How old the oldest value is that the last judgement asks for, ms, if it begins now. The warm-up is no part of
    /// what is judged.
    pub(in crate::stage) fn age_ms(&self, schedule: &Schedule, now_ms: i64) -> u64 {
        let window_ms = match self.lookback_ms {
            0 => schedule.interval_ms.saturating_mul(schedule.count),
            lookback => lookback,
        };
        let begun_ms = u64::try_from(now_ms.saturating_sub(schedule.base_ms)).unwrap_or(0);
        window_ms
            .saturating_add(begun_ms)
            .saturating_add(self.offset_ms)
    }
}

impl Schedule {
    /// Refuses more judgements than stages of their own are planned for. A judge that decides after each step gets
    /// one stage, however many they are.
    pub(in crate::stage) fn check_count(&self) -> Result<(), String> {
        let count = self.count;
        if count > MOST_INTERVALS {
            return Err(format!(
                "canaryConfig.canaryAnalysisIntervalMins: it makes {count} judgements, more than the \
                 {MOST_INTERVALS} allowed; judge less often"
            ));
        }
        Ok(())
    }

    /// The window of the `n`th judgement, from 1.
    pub(in crate::stage) fn window(&self, n: u64, lookback_ms: u64) -> (i64, i64) {
        let add = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
        let start = self.base_ms.saturating_add(add(self.warm_up_ms));
        let end = start.saturating_add(add(self.interval_ms.saturating_mul(n)));
        match lookback_ms {
            0 => (start, end),
            lookback => (end.saturating_sub(add(lookback)), end),
        }
    }
}

/// The accounts that a map names.
pub(in crate::stage) fn accounts(of: &Map<String, Value>) -> Map<String, Value> {
    let keys = [
        "metricsAccountName",
        "configurationAccountName",
        "storageAccountName",
    ];
    let named = keys.iter().filter_map(|key| {
        let name = of.get(*key).and_then(text)?;
        Some(((*key).to_owned(), name.into()))
    });
    named.collect()
}

/// What is wrong with a stage as a user wrote it. What holds expressions is judged when it begins.
pub(in crate::stage) fn faults(context: &Map<String, Value>, path: &str) -> Vec<Fault> {
    let at = |field: &str, message: String| Fault::new(format!("{path}.{field}"), message);
    let config = match context.get("canaryConfig") {
        Some(Value::Object(config)) => config,
        Some(Value::String(text)) if text.contains("${") => return Vec::new(),
        _ => {
            return vec![at(
                "canaryConfig",
                "it is missing; say what to judge".to_owned(),
            )];
        }
    };
    if orchestrator_core::context::has_template(&Value::Object(config.clone())) {
        return Vec::new();
    }
    let found = match Settings::of(config) {
        Ok(settings) => match settings.schedule(0) {
            Err(message) if settings.start_ms.is_some() || settings.end_ms.is_none() => {
                let (field, message) = message
                    .split_once(": ")
                    .unwrap_or(("canaryConfig", &message));
                return vec![at(field, message.to_owned())];
            }
            _ => return Vec::new(),
        },
        Err(faults) => faults,
    };
    let each = found.into_iter();
    each.map(|(field, message)| at(&format!("canaryConfig.{field}"), message))
        .collect()
}

/// A time as Kayenta takes it.
pub(in crate::stage) fn iso(at_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
    at.to_string()
}

/// Text that says something.
pub(in crate::stage) fn text(value: &Value) -> Option<&str> {
    value
        .as_str()
        .map(str::trim)
        .filter(|text| !text.is_empty())
}

/// A value for a message.
pub(in crate::stage) fn short(value: &Value) -> String {
    value.to_string().chars().take(80).collect()
}
