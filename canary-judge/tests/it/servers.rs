//! Real stores from Debian, filled with the past.

use std::fmt::Write;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use canary_judge::account::{Account, Kind};
use serde_json::json;

use crate::process::{Server, has, prometheus_of, start};
use crate::subject::{NoSeries, Subject, account, points, start_s, store};

fn arm(arm: &str) -> (&'static str, &'static str) {
    let name = match arm {
        "baseline" => "baseline",
        "canary" => "canary",
        _ => "nobody",
    };
    (name, "eu")
}

pub(crate) async fn prometheus() -> Option<Subject> {
    let start_s = start_s();
    let mut text = String::from("# TYPE requests gauge\n");
    for arm in ["baseline", "canary"] {
        for (at_s, value) in points(arm, start_s) {
            writeln!(text, "requests{{instance=\"{arm}\"}} {value} {at_s}").unwrap();
        }
    }
    text.push_str("# EOF\n");
    let (server, url) = prometheus_of(&text).await?;
    Some(Subject {
        source: store(&account(Kind::Prometheus, &url)),
        query: json!({"type": "prometheus", "metricName": "requests"}),
        scope: arm,
        extended: &[],
        tags: &[],
        no_series: NoSeries::Placeholder,
        text: "avg(requests{instance=\"",
        lists: "requests",
        start_s,
        _server: Box::new(server),
    })
}

pub(crate) async fn influxdb() -> Option<Subject> {
    if !has("influxd", "version") {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let (server, url) = start(folder, "/ping", |folder, port| {
        let at = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:0\"\n\
             [meta]\ndir = {:?}\n[data]\ndir = {:?}\nwal-dir = {:?}\n\
             [http]\nbind-address = \"127.0.0.1:{port}\"\n[monitor]\nstore-enabled = false\n",
            at("meta"),
            at("data"),
            at("wal")
        );
        std::fs::write(folder.join("influxdb.conf"), config).unwrap();
        let mut command = Command::new("influxd");
        command.arg("-config").arg(folder.join("influxdb.conf"));
        command
    })
    .await;
    let start_s = start_s();
    let mut lines = String::new();
    for arm in ["baseline", "canary"] {
        for (at_s, value) in points(arm, start_s) {
            writeln!(lines, "requests,arm={arm} value={value} {at_s}").unwrap();
        }
    }
    let client = runtime::egress::operator_client().unwrap();
    for (path, body) in [
        ("/query?q=CREATE%20DATABASE%20metrics", String::new()),
        ("/write?db=metrics&precision=s", lines),
    ] {
        let answer = client
            .post(format!("{url}{path}"))
            .body(body)
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.status());
    }
    let account = Account {
        database: Some("metrics".into()),
        ..account(Kind::InfluxDb, &url)
    };
    Some(Subject {
        source: store(&account),
        query: json!({"type": "influxdb", "metricName": "requests", "fields": ["value"]}),
        scope: |arm| match arm {
            "baseline" => ("arm:baseline", ""),
            "canary" => ("arm:canary", ""),
            _ => ("arm:nobody", ""),
        },
        extended: &[],
        tags: &[("field", "value")],
        no_series: NoSeries::Placeholder,
        text: "SELECT value FROM requests WHERE time >= '",
        lists: "requests",
        start_s,
        _server: Box::new(server),
    })
}

/// Graphite's web part over a folder of files, as a Debian package has it.
const GRAPHITE: &str = r#"
import os, sys
from wsgiref.simple_server import make_server, WSGIRequestHandler
folder, points = sys.argv[1], sys.argv[2]
os.makedirs(folder + "/log", exist_ok=True)
with open(folder + "/of_a_test.py", "w") as settings:
    settings.write(f"""
from graphite.settings import *
STORAGE_DIR = LOG_DIR = {folder!r}
LOG_DIR = LOG_DIR + '/log'
WHISPER_DIR = STORAGE_DIR + '/whisper'
STANDARD_DIRS = DATA_DIRS = [WHISPER_DIR]
INDEX_FILE = STORAGE_DIR + '/index'
SECRET_KEY = 'of a test'
DATABASES = {{'default': {{'ENGINE': 'django.db.backends.sqlite3', 'NAME': STORAGE_DIR + '/db'}}}}
CARBONLINK_HOSTS = MEMCACHE_HOSTS = []
ALLOWED_HOSTS = ['*']
""")
import whisper
for line in open(points):
    name, *rest = line.split()
    path = f"{folder}/whisper/app/{name}/requests.wsp"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    whisper.create(path, [(60, 1440)])
    whisper.update_many(path, [(int(at), float(v)) for at, v in (one.split(":") for one in rest)])
sys.path.insert(0, folder)
os.environ["DJANGO_SETTINGS_MODULE"] = "of_a_test"
from django.core.wsgi import get_wsgi_application
class Quiet(WSGIRequestHandler):
    def log_message(self, *of):
        pass
server = make_server("127.0.0.1", 0, get_wsgi_application(), handler_class=Quiet)
print(server.server_port, flush=True)
server.serve_forever()
"#;

pub(crate) async fn graphite() -> Option<Subject> {
    let python = "/usr/bin/python3";
    let installed = Command::new(python)
        .args(["-W", "ignore", "-c", "import graphite, whisper, django"])
        .output()
        .is_ok_and(|output| output.status.success());
    if !installed {
        println!("skipped: graphite-web is not installed");
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    let start_s = start_s();
    let mut lines = String::new();
    for arm in ["baseline", "canary"] {
        write!(lines, "{arm}").unwrap();
        for (at_s, value) in points(arm, start_s) {
            write!(lines, " {at_s}:{value}").unwrap();
        }
        lines.push('\n');
    }
    std::fs::write(folder.path().join("points"), lines).unwrap();
    let child = Command::new(python)
        .args(["-W", "ignore", "-c", GRAPHITE])
        .args([folder.path(), &folder.path().join("points")])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut server = Server::new(child, folder);
    let mut port = String::new();
    let out = server.child.stdout.take().unwrap();
    BufReader::new(out).read_line(&mut port).unwrap();
    let url = format!("http://127.0.0.1:{}", port.trim());
    let finds = format!("{url}/metrics/find?query=*&format=completer");
    assert!(server.ready(&finds).await);
    Some(Subject {
        source: store(&account(Kind::Graphite, &url)),
        query: json!({"type": "graphite", "metricName": "app.$scope.requests"}),
        scope: arm,
        extended: &[],
        tags: &[],
        no_series: NoSeries::Placeholder,
        text: "app.",
        lists: "app",
        start_s,
        _server: Box::new(server),
    })
}
