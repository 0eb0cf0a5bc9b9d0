//! `docs/differences.md` is made of the marks in the code: it says what they say.
//! `UPDATE_GENERATED=1 cargo test -p tests differences` writes it anew.

use std::collections::BTreeMap;

use crate::repository::{files, root};

const MARK: &str = "Differs from Spinnaker:";
const FILE: &str = "docs/differences.md";
const HEAD: &str = "# Where Gennaker differs from Spinnaker\n\n\
    Made of the marks in the code, by the file that does otherwise. Everything else is meant to be as there; what is \
    not is a defect.\n";

/// The text of a comment line, and what makes it one.
fn comment(line: &str) -> Option<(&'static str, &str)> {
    let line = line.trim_start();
    let kinds = ["//!", "///", "//"];
    kinds
        .into_iter()
        .find_map(|kind| Some((kind, line.strip_prefix(kind)?.trim())))
}

/// Each mark's text, up to the end of its paragraph.
fn marks(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some((kind, told)) = comment(line) else {
            continue;
        };
        let Some((_, rest)) = told.split_once(MARK) else {
            continue;
        };
        let mut words = vec![rest.trim()];
        while let Some(&next) = lines.peek()
            && let Some((same, told)) = comment(next)
            && same == kind
            && !told.is_empty()
            && !told.starts_with("Source:")
            && !told.contains(MARK)
        {
            words.push(told);
            lines.next();
        }
        let whole = words.join(" ").trim().to_owned();
        let mut letters = whole.chars();
        let first: String = letters
            .next()
            .into_iter()
            .flat_map(char::to_uppercase)
            .collect();
        found.push(first + letters.as_str());
    }
    found
}

/// What a file is about: the first sentence of its documentation.
fn subject(text: &str) -> String {
    let about = text.lines().map_while(|line| line.strip_prefix("//! "));
    let about = about.collect::<Vec<_>>().join(" ");
    let ends = about.find(". ").unwrap_or(about.len());
    about
        .get(..ends)
        .unwrap_or(&about)
        .trim_end_matches('.')
        .to_owned()
}

/// The paragraph of a decision that begins with the mark.
fn decided(text: &str) -> Option<String> {
    let mark = format!("**{}.** ", MARK.trim_end_matches(':'));
    text.lines()
        .find_map(|line| Some(line.strip_prefix(&mark)?.to_owned()))
}

fn document() -> String {
    let mut parts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut decisions = Vec::new();
    for file in files() {
        let shown = file.display().to_string();
        let is_test = file.components().any(|part| part.as_os_str() == "tests");
        let text = || std::fs::read_to_string(root().join(&file)).unwrap();
        if shown.starts_with("docs/decisions/") {
            decisions.extend(decided(&text()).map(|told| format!("- {told} (`{shown}`)")));
        } else if file.extension().is_some_and(|e| e == "rs") && !is_test {
            let part = shown.split("/src/").next().unwrap_or_default().to_owned();
            let text = text();
            let about = subject(&text);
            let told = marks(&text).into_iter();
            let rows = told.map(|told| format!("- *{about}.* {told} (`{shown}`)"));
            parts.entry(part).or_default().extend(rows);
        }
    }
    let mut whole = HEAD.to_owned();
    for (part, mut rows) in parts.into_iter().filter(|(_, rows)| !rows.is_empty()) {
        rows.sort_by_cached_key(|row| row.rsplit('(').next().map(ToOwned::to_owned));
        whole += &format!("\n## {part}\n\n{}\n", rows.join("\n"));
    }
    decisions.sort();
    whole + &format!("\n## Decisions\n\n{}\n", decisions.join("\n"))
}

#[test]
fn the_list_of_differences_says_what_the_code_says() {
    let path = root().join(FILE);
    let document = document();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(&path, document).unwrap();
        return;
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == document,
        "{FILE} differs; run UPDATE_GENERATED=1 cargo test -p tests differences"
    );
}

#[test]
fn a_mark_ends_with_its_paragraph() {
    let text = "//! About.\n//! Differs from Spinnaker: it is\n//! shorter.\n//! Source: `x`\n//!\n//! More.\n\
        fn a() {} // no\n    /// Differs from Spinnaker: b.\n    fn b() {}";
    assert_eq!(marks(text), ["It is shorter.", "B."]);
}
