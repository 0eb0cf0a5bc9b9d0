//! The scripts: one file each, with what they share in front.

/// A script and the hash that the server knows it by.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) code: String,
    pub(super) hash: String,
    /// Whether its effect is told to others only when it is as safe as it can be made: a commit.
    pub(super) counts: bool,
}

impl Script {
    fn new(code: &str) -> Self {
        Self {
            code: code.to_owned(),
            hash: redis::Script::new(code).get_hash().to_owned(),
            counts: false,
        }
    }
}

const SHARED: &str = include_str!("scripts/shared.lua");

/// Every script.
#[derive(Debug)]
pub(super) struct Scripts {
    /// Refused by a full server before it starts: new work.
    pub(super) commit: Script,
    /// The same, allowed to go on: work that runs.
    pub(super) commit_running: Script,
    pub(super) reserve: Script,
    pub(super) extend: Script,
    pub(super) release: Script,
    pub(super) take: Script,
    pub(super) feed: Script,
    pub(super) reset: Script,
    pub(super) page: Script,
    pub(super) now: Script,
    pub(super) blob: Script,
}

fn shared(flags: &str, body: &str) -> Script {
    Script::new(&format!("#!lua{flags}\n{SHARED}\n{body}"))
}

impl Scripts {
    pub(super) fn new() -> Self {
        let running = " flags=allow-oom";
        let commit = |flags: &str| Script {
            counts: true,
            ..shared(flags, include_str!("scripts/commit.lua"))
        };
        Self {
            commit: commit(""),
            commit_running: commit(running),
            reserve: shared(running, include_str!("scripts/reserve.lua")),
            extend: shared(running, include_str!("scripts/extend.lua")),
            release: shared(running, include_str!("scripts/release.lua")),
            take: shared(running, include_str!("scripts/take.lua")),
            feed: shared(" flags=no-writes", include_str!("scripts/feed.lua")),
            reset: shared(running, include_str!("scripts/reset.lua")),
            page: Script::new(include_str!("scripts/page.lua")),
            now: Script::new(include_str!("scripts/now.lua")),
            blob: Script::new(include_str!("scripts/blob.lua")),
        }
    }
}
