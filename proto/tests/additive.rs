//! The interfaces only grow: whatever the previous version knew is still there under the same number, name and
//! type, so that processes of both can talk to one another while one replaces the other.
//!
//! `previous.txt` is what the commit in `tests/fixtures/previous` said, a line for each field, value and call.
//! When that commit changes, `PREVIOUS_PROTO=<its folder proto> cargo test -p proto` writes it anew.

#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn proto_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            proto_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "proto") {
            found.push(path);
        }
    }
}

/// All that the files below a folder promise, a line each.
fn promises(root: &Path) -> BTreeSet<String> {
    let mut files = Vec::new();
    proto_files(&root.join("gennaker"), &mut files);
    files.sort();
    let descriptors = protox::compile(&files, [root]).unwrap();
    let mut lines = BTreeSet::new();
    for file in descriptors.file {
        let package = file.package().to_owned();
        let mut open: Vec<_> = file
            .message_type
            .iter()
            .map(|message| (package.clone(), message))
            .collect();
        let mut enums: Vec<_> = file
            .enum_type
            .iter()
            .map(|e| (package.clone(), e))
            .collect();
        while let Some((within, message)) = open.pop() {
            let name = format!("{within}.{}", message.name());
            let nested = message.nested_type.iter();
            open.extend(nested.map(|nested| (name.clone(), nested)));
            enums.extend(message.enum_type.iter().map(|e| (name.clone(), e)));
            for field in &message.field {
                let one_of = match field.oneof_index.filter(|_| !field.proto3_optional()) {
                    None => String::new(),
                    Some(index) => {
                        let at = usize::try_from(index).unwrap();
                        format!(" oneof {}", message.oneof_decl[at].name())
                    }
                };
                lines.insert(format!(
                    "{name} field {} {} {:?} {:?} {}{one_of}",
                    field.number(),
                    field.name(),
                    field.label(),
                    field.r#type(),
                    field.type_name(),
                ));
            }
        }
        for (within, e) in enums {
            for value in &e.value {
                let (number, value) = (value.number(), value.name());
                lines.insert(format!("{within}.{} value {number} {value}", e.name()));
            }
        }
        for service in &file.service {
            for method in &service.method {
                let stream = |streams: bool| if streams { "stream " } else { "" };
                lines.insert(format!(
                    "{package}.{} call {} {}{} answers {}{}",
                    service.name(),
                    method.name(),
                    stream(method.client_streaming()),
                    method.input_type(),
                    stream(method.server_streaming()),
                    method.output_type(),
                ));
            }
        }
    }
    lines
}

/// What of the former is not there any more.
fn missing<'a>(former: &'a BTreeSet<String>, now: &'a BTreeSet<String>) -> Vec<&'a String> {
    former.difference(now).collect()
}

#[test]
fn what_the_previous_version_knew_is_still_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kept = root.join("tests/previous.txt");
    if let Some(folder) = std::env::var_os("PREVIOUS_PROTO") {
        let lines: Vec<String> = promises(Path::new(&folder)).into_iter().collect();
        fs::write(&kept, lines.join("\n") + "\n").unwrap();
    }
    let former = fs::read_to_string(&kept).unwrap();
    let former: BTreeSet<String> = former.lines().map(ToOwned::to_owned).collect();
    assert!(former.len() > 100, "{} promises only", former.len());
    let now = promises(root);
    let gone = missing(&former, &now);
    assert!(
        gone.is_empty(),
        "the previous version still sends these; leave them and add others beside them: {gone:#?}"
    );
}

#[test]
fn a_field_that_changes_its_number_its_type_or_its_name_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("gennaker")).unwrap();
    let of = |text: &str| {
        let text = format!("syntax = \"proto3\";\npackage x.v1;\n{text}");
        fs::write(folder.path().join("gennaker/x.proto"), text).unwrap();
        promises(folder.path())
    };
    let rest = "enum E { NONE = 0; ONE = 1; } service S { rpc Call(M) returns (M); }";
    let former = of(&format!("message M {{ string a = 1; E e = 2; }} {rest}"));
    assert_eq!(former.len(), 5);
    let more = "enum E { NONE = 0; ONE = 1; TWO = 2; } service S { rpc Call(M) returns (M); rpc More(M) returns (M); }";
    let grown = of(&format!(
        "message M {{ string a = 1; E e = 2; int64 b = 3; }} {more}"
    ));
    assert!(missing(&former, &grown).is_empty());
    for (fields, rest) in [
        ("string a = 3; E e = 2;", rest),
        ("int64 a = 1; E e = 2;", rest),
        ("repeated string a = 1; E e = 2;", rest),
        ("string b = 1; E e = 2;", rest),
        ("oneof o { string a = 1; } E e = 2;", rest),
        ("string a = 1;", rest),
        (
            "string a = 1; E e = 2;",
            "enum E { NONE = 0; OTHER = 1; } service S { rpc Call(M) returns (M); }",
        ),
        (
            "string a = 1; E e = 2;",
            "enum E { NONE = 0; ONE = 1; } service S { rpc Call(M) returns (stream M); }",
        ),
    ] {
        let now = of(&format!("message M {{ {fields} }} {rest}"));
        assert_eq!(missing(&former, &now).len(), 1, "{fields} {rest}");
    }
}
