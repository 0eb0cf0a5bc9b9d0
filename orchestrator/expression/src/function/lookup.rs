//! Functions that ask for what lies outside: addresses, our own documents.
//!
//! None of them fetches. Each names what it needs ([`crate::Need`]) and reads the
//! answer when it is called again. Which addresses are allowed is for whoever
//! fetches to say.

use serde_json::{Map, Value};

use super::convert::{json, null_pointer, text};
use super::yaml::yaml;
use crate::error::{Fault, ILLEGAL_ARGUMENT, Stop};
use crate::eval::{Eval, Machine};
use crate::value::{Text, Val};

fn fetched<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Result<&'a str, Stop> {
    let url = text(m, args, 0)?.ok_or_else(null_pointer)?;
    let scheme = url
        .split_once("://")
        .map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https")) {
        let text = format!("unsupported URI scheme {url}");
        return Err(Fault::java(ILLEGAL_ARGUMENT, text)
            .suggest("only http and https addresses can be read")
            .into());
    }
    m.answer(&url)
}

pub(super) fn from_url<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    fetched(m, args).map(|text| Val::Text(Text::Ref(text)))
}

pub(super) fn json_from_url<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = fetched(m, args)?;
    m.charge(text.len() / 16)?;
    json(text)
}

pub(super) fn yaml_from_url<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = fetched(m, args)?;
    m.charge(text.len() / 16)?;
    Ok(yaml(text)?.into_iter().next().unwrap_or(Val::Null))
}

pub(super) fn properties_from_url<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let text = fetched(m, args)?;
    m.charge(text.len() / 16)?;
    Ok(Val::from_owned(Value::Object(properties(text))))
}

pub(super) fn fetch_reference<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let Some(reference) = text(m, args, 0)? else {
        return Ok(Val::Null);
    };
    if reference.starts_with("ref://") {
        return m.answer(&reference).map(|text| Val::Text(Text::Ref(text)));
    }
    Ok(Val::text(reference))
}

pub(super) fn application_metadata<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let name = text(m, args, 0)?.ok_or_else(null_pointer)?;
    let found = ours(m, &format!("application:{}", encoded(&name)))?;
    if found.is_null() {
        return Err(Fault::helper(format!("Unable to find the application {name}")).into());
    }
    Ok(Val::from_owned(found))
}

pub(super) fn canary_config_id<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let name = text(m, args, 0)?.ok_or_else(null_pointer)?;
    let application = text(m, args, 1)?.ok_or_else(null_pointer)?;
    let wanted = format!(
        "canary-config-id:{}/{}",
        encoded(&application),
        encoded(&name)
    );
    let found = ours(m, &wanted)?;
    if found.is_null() {
        let text = format!(
            "Unable to find a canary config with name {name} for application {application}"
        );
        return Err(Fault::helper(text).into());
    }
    Ok(Val::from_owned(found))
}

pub(super) fn pipeline_id<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let name = required(
        m,
        args,
        0,
        "pipelineName must be specified for function #pipelineId",
    )?;
    let application = application(m);
    let found = id_of_pipeline(m, &application, &name)?;
    if found.is_null() {
        let text =
            format!("Pipeline with name '{name}' could not be found on application {application}");
        return Err(Fault::helper(text).into());
    }
    Ok(found)
}

pub(super) fn pipeline_id_or_null<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let name = required(
        m,
        args,
        0,
        "pipelineName must be specified for function #pipelineIdOrNull",
    )?;
    let application = application(m);
    id_of_pipeline(m, &application, &name)
}

pub(super) fn pipeline_id_in_application<'a>(m: &mut Machine<'a>, args: &[Val<'a>]) -> Eval<'a> {
    let name = text(m, args, 0)?.unwrap_or_default();
    let application = required(
        m,
        args,
        1,
        "applicationName must be specified for function #pipelineIdInApplication",
    )?;
    id_of_pipeline(m, &application, &name)
}

fn required<'a>(
    m: &mut Machine<'a>,
    args: &[Val<'a>],
    index: usize,
    problem: &str,
) -> Result<String, Stop> {
    let found = text(m, args, index)?.filter(|text| !text.is_empty());
    found.ok_or_else(|| Fault::helper(problem).into())
}

fn application(m: &Machine<'_>) -> String {
    let execution = m.scope.root.get("execution");
    let name = execution
        .and_then(|e| e.get("application"))
        .and_then(Value::as_str);
    name.unwrap_or_default().to_owned()
}

fn id_of_pipeline<'a>(m: &mut Machine<'a>, application: &str, name: &str) -> Eval<'a> {
    let wanted = format!("pipeline-id:{}/{}", encoded(application), encoded(name));
    ours(m, &wanted).map(Val::from_owned)
}

/// An answer about a document of ours.
fn ours(m: &mut Machine<'_>, wanted: &str) -> Result<Value, Stop> {
    let answer = m.answer(wanted)?;
    serde_json::from_str(answer)
        .map_err(|e| Fault::helper(format!("the answer to {wanted} is not JSON: {e}")).into())
}

/// Percent-encoded, so that a name may hold a slash.
fn encoded(name: &str) -> String {
    let mut out = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A Java properties file: `key=value`, `key: value` or `key value` a line, comments
/// with `#` or `!`, lines continued with a backslash.
fn properties(text: &str) -> Map<String, Value> {
    let mut map = Map::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let mut line = line.trim_start().to_owned();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        while continued(&line)
            && let Some(next) = lines.next()
        {
            line.pop();
            line.push_str(next.trim_start());
        }
        let (key, value) = key_and_value(&line);
        map.insert(key, value.into());
    }
    map
}

/// Whether a line ends in an odd number of backslashes.
fn continued(line: &str) -> bool {
    line.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1
}

fn key_and_value(line: &str) -> (String, String) {
    let mut escaped = false;
    let end = line.char_indices().find(|(_, c)| {
        let found = !escaped && (c.is_whitespace() || "=:".contains(*c));
        escaped = !escaped && *c == '\\';
        found
    });
    let at = end.map_or(line.len(), |(at, _)| at);
    let (key, rest) = line.split_at(at);
    let rest = rest.trim_start();
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (unescaped(key), unescaped(rest.trim_start()))
}

fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => out.push('\n'),
            Some('t') => out.push('\t'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16)
                    .ok()
                    .and_then(char::from_u32);
                out.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}
