//! The shim itself: starts the instance as its parent, keeps its log and its stop
//! order, records its end.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use instance::{EXIT, Exit, Ids, LAUNCH, LOCK, LOG, Launch, STATE};
use rustix::io::Errno;
use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitOptions, getrlimit, kill_process, kill_process_group,
    setrlimit, wait, waitpid,
};

use crate::log::Log;
use crate::serve::{Shared, serve};
use crate::{folder, process};

/// An instance that ends sooner than this is started again only after a pause.
const QUICK: Duration = Duration::from_secs(1);

/// Pipes of an instance: standard output and standard error.
const PIPES: usize = 2;

/// How long the last lines may take to be written once the instance has ended.
const LAST_LINES: Duration = Duration::from_secs(1);

/// What can happen to the shim.
pub(crate) enum Wake {
    /// The instance's process ended.
    Ended(ExitStatus),
    /// Somebody asked for the end: SIGKILL after this time.
    Stop(Duration),
}

/// Runs the shim until the instance has ended. A second shim of the same folder waits
/// until the first has started the instance, and leaves.
pub(crate) fn run(folder: &Path) -> Result<(), String> {
    let starting = match turn_to_start(folder) {
        Ok(Some(lock)) => lock,
        Ok(None) => {
            say("up");
            return Ok(());
        }
        Err(error) => {
            say(&error);
            return Err(error);
        }
    };
    let outcome = prepare(folder).and_then(|(launch, listener)| {
        allow_files(launch.max_files);
        let started = start(folder, &launch, Life::First)?;
        Ok((launch, listener, started))
    });
    if let Err(error) = &outcome {
        process::record_failure(folder, error);
    }
    drop(starting);
    match outcome {
        Ok((launch, listener, started)) => {
            say("up");
            supervise(folder, &launch, listener, started)
        }
        Err(error) => {
            say(&error);
            Err(error)
        }
    }
}

/// The lock under which the folder's instance is started; none if another shim did it.
fn turn_to_start(folder: &Path) -> Result<Option<File>, String> {
    let lock = File::create(folder.join(LOCK)).map_err(|e| format!("cannot open {LOCK}: {e}"))?;
    lock.lock()
        .map_err(|e| format!("cannot lock {LOCK}: {e}"))?;
    let started = folder::read::<Ids>(&folder.join(STATE))?.is_some_and(|ids| {
        ids.boot_id == process::boot_id() && process::is_running(ids.shim_pid, ids.shim_start)
    });
    Ok((!started && !folder.join(EXIT).exists()).then_some(lock))
}

/// Tells the launcher, and lets its pipe go: nobody reads it any more.
fn say(line: &str) {
    let mut out = std::io::stdout();
    let _gone = writeln!(out, "{line}").and_then(|()| out.flush());
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        // Replacing the descriptor closes the pipe, which is what the launcher waits for.
        let _kept = rustix::stdio::dup2_stdout(&null);
    }
}

fn prepare(folder: &Path) -> Result<(Launch, UnixListener), String> {
    let launch: Launch =
        folder::read(&folder.join(LAUNCH))?.ok_or_else(|| format!("there is no {LAUNCH}"))?;
    // Of its own session, it is no part of whatever ends with its starter.
    rustix::process::setsid().map_err(|e| format!("cannot begin a session: {e}"))?;
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))
        .map_err(|e| format!("cannot become subreaper: {e}"))?;
    let open = File::open(folder).map_err(|e| format!("cannot open the folder: {e}"))?;
    let path = folder::socket_path(folder, &open);
    let _absent = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path)
        .map_err(|e| format!("cannot listen on {}: {e}", instance::SOCKET))?;
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, mode).map_err(|e| format!("cannot protect the socket: {e}"))?;
    Ok((launch, listener))
}

/// The program of a root folder: as given if absolute, else by the image's PATH.
fn program_in(root: &Path, launch: &Launch) -> Result<PathBuf, String> {
    let program = launch
        .command
        .first()
        .ok_or("the command is empty; name a program")?;
    if program.contains('/') {
        return Ok(PathBuf::from(program));
    }
    let path = launch
        .environment
        .get("PATH")
        .map_or("/usr/local/bin:/usr/bin:/bin", |p| p);
    path.split(':')
        .map(|folder| Path::new(folder).join(program))
        .find(|candidate| {
            root.join(candidate.strip_prefix("/").unwrap_or(candidate))
                .exists()
        })
        .ok_or_else(|| format!("{program} is in no folder of the image's PATH ({path})"))
}

/// Whether an instance is started for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    First,
    Next,
}

/// A started instance.
struct Started {
    child: Child,
    ids: Ids,
}

fn start(folder: &Path, launch: &Launch, life: Life) -> Result<Started, String> {
    let is_root = rustix::process::geteuid().is_root();
    let mut isolation = "plain: no root folder was given".to_owned();
    let mut command = match &launch.root {
        None => {
            let program = launch
                .command
                .first()
                .ok_or("the command is empty; name a program")?;
            Command::new(program)
        }
        Some(root) if is_root => {
            isolation = "chroot".to_owned();
            chrooted(root, launch)?
        }
        Some(root) => {
            isolation = "plain: chroot needs root; files of the machine are visible".to_owned();
            let program = program_in(root, launch)?;
            Command::new(root.join(program.strip_prefix("/").unwrap_or(&program)))
        }
    };
    if !(launch.root.is_some() && is_root) {
        command.args(launch.command.iter().skip(1));
        let inside = launch.working_folder.as_deref().unwrap_or("/");
        let at = match &launch.root {
            Some(root) => root.join(inside.strip_prefix('/').unwrap_or(inside)),
            None => PathBuf::from(inside),
        };
        command.current_dir(at);
        if let Some((user, group)) = launch.user.filter(|_| is_root) {
            command.gid(group).uid(user);
        }
        command.env_clear().envs(&launch.environment);
    }
    let started_ms = folder::now_ms();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|e| format!("cannot start {}: {e}", launch.command.join(" ")))?;
    let pid = child.id();
    let own = std::process::id();
    let ids = Ids {
        shim_pid: own,
        shim_start: process::stat(own).map_or(0, |(start, _)| start),
        pid,
        start: process::stat(pid).map_or(0, |(start, _)| start),
        started_ms,
        boot_id: process::boot_id(),
        isolation,
    };
    if let Err(error) = folder::write(&folder.join(STATE), &ids)
        && life == Life::First
    {
        // Without its record nobody would find it again. Later the socket is known, and says.
        let _dead = child.kill();
        return Err(error);
    }
    Ok(Started { child, ids })
}

/// Sets how many files the instance may open: it inherits this process's limit.
fn allow_files(most: Option<u64>) {
    let Some(most) = most else { return };
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: Some(maximum.map_or(most, |maximum| most.min(maximum))),
        maximum,
    };
    // Where it is refused, what there is has to do.
    let _kept = setrlimit(Resource::Nofile, limit);
}

/// A command that enters the root folder first. `chroot(1)` of coreutils does it,
/// because a process may enter a root before its program only with unsafe code.
fn chrooted(root: &Path, launch: &Launch) -> Result<Command, String> {
    let program = program_in(root, launch)?;
    let mut command = Command::new("/usr/sbin/chroot");
    if let Some((user, group)) = launch.user {
        command.arg(format!("--userspec={user}:{group}"));
    }
    command
        .arg(root)
        .arg(program)
        .args(launch.command.iter().skip(1));
    command
        .current_dir("/")
        .env_clear()
        .envs(&launch.environment);
    Ok(command)
}

fn supervise(
    folder: &Path,
    launch: &Launch,
    listener: UnixListener,
    first: Started,
) -> Result<(), String> {
    let log = Log::new(folder.join(LOG), launch.log_bytes);
    let (sender, wakes) = channel();
    let shared = Shared::new(launch, first.ids.clone(), log.clone(), sender.clone());
    let served = shared.clone();
    std::thread::spawn(move || serve(&listener, &served));
    let mut current = first;
    let mut limit = launch.time_limit_ms.map(Duration::from_millis);
    loop {
        let began = Instant::now();
        let started_ms = current.ids.started_ms;
        let group = Pid::from_raw(i32::try_from(current.ids.pid).unwrap_or(0));
        let (copied, copies) = channel();
        let logs = Logs { log: &log, copied };
        let limit = limit.take();
        let life = one_life(
            current.child,
            group,
            logs,
            limit,
            (&sender, &wakes),
            &shared,
        );
        let (status, asked) = (life.status, life.asked);
        end_of_group(group);
        // Whoever sees the exit wants the last lines: both pipes have no writer any more.
        for _ in 0..PIPES {
            let _cut_short = copies.recv_timeout(LAST_LINES);
        }
        let exit = Exit {
            code: status.code(),
            signal: status.signal(),
            failure: None,
            started_ms,
            ended_ms: folder::now_ms(),
            asked,
            timed_out: life.timed_out,
        };
        let meant_to = status.success();
        if asked || life.timed_out || meant_to || !launch.restart {
            shared.ended(exit.clone());
            return folder::write(&folder.join(EXIT), &exit);
        }
        if began.elapsed() < QUICK
            && let Ok(Wake::Stop(_)) = wakes.recv_timeout(QUICK)
        {
            shared.ended(exit.clone());
            return folder::write(&folder.join(EXIT), &exit);
        }
        current = loop {
            match start(folder, launch, Life::Next) {
                Ok(started) => break started,
                // Whoever waits for it wants it back, however long the disk is full.
                Err(error) => log.note(&format!("it cannot be started again: {error}\n")),
            }
            if let Ok(Wake::Stop(_)) = wakes.recv_timeout(QUICK) {
                shared.ended(exit.clone());
                return folder::write(&folder.join(EXIT), &exit);
            }
        };
        shared.restarted(current.ids.clone());
    }
}

/// How one life of the instance ended.
struct Ended {
    status: ExitStatus,
    asked: bool,
    timed_out: bool,
}

/// Waits for the end of one process, and sees to it once somebody asked or the limit of
/// its time is reached.
fn one_life(
    mut child: Child,
    group: Option<Pid>,
    logs: Logs<'_>,
    limit: Option<Duration>,
    (sender, wakes): (&Sender<Wake>, &Receiver<Wake>),
    shared: &Shared,
) -> Ended {
    for pipe in [
        child.stdout.take().map(Pipe::Out),
        child.stderr.take().map(Pipe::Err),
    ] {
        let (log, copied) = (logs.log.clone(), logs.copied.clone());
        std::thread::spawn(move || {
            match pipe {
                Some(Pipe::Out(out)) => log.copy(out),
                Some(Pipe::Err(err)) => log.copy(err),
                None => {}
            }
            let _nobody_waits = copied.send(());
        });
    }
    let (ended, pid) = (sender.clone(), child.id());
    std::thread::spawn(move || {
        // The shim's loop is gone only when the shim is.
        let _alone = ended.send(Wake::Ended(wait_for(pid)));
    });
    let mut kill_at: Option<Instant> = None;
    let mut limit_at = limit.and_then(|limit| Instant::now().checked_add(limit));
    let (mut asked, mut timed_out) = (false, false);
    loop {
        let next = [kill_at, limit_at].into_iter().flatten().min();
        let wait = next.map_or(Duration::from_secs(3600), |at| {
            at.saturating_duration_since(Instant::now())
        });
        let wake = wakes.recv_timeout(wait);
        if limit_at.is_some_and(|at| at <= Instant::now()) && !matches!(wake, Ok(Wake::Ended(_))) {
            limit_at = None;
            timed_out = !asked;
            // As if somebody had asked; who did before has the better right.
            let _alone = sender.send(Wake::Stop(shared.grace()));
        }
        match wake {
            Ok(Wake::Ended(status)) => {
                return Ended {
                    status,
                    asked: asked && !timed_out,
                    timed_out,
                };
            }
            Ok(Wake::Stop(grace)) => {
                if !asked && let Some(pid) = group {
                    let _gone = kill_process(pid, Signal::TERM);
                }
                asked = true;
                shared.stopping();
                let at = Instant::now() + grace;
                kill_at = Some(kill_at.map_or(at, |before| before.min(at)));
            }
            Err(RecvTimeoutError::Timeout) if kill_at.is_some() => {
                if let Some(pid) = group {
                    let _gone = kill_process_group(pid, Signal::KILL);
                }
                kill_at = Some(Instant::now() + Duration::from_secs(1));
            }
            Err(_) => {}
        }
    }
}

/// Waits for the end of the instance, and for whoever it left to this process on the way.
fn wait_for(pid: u32) -> ExitStatus {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((ended, status))) if u32::try_from(ended.as_raw_pid()) == Ok(pid) => {
                return ExitStatus::from_raw(status.as_raw());
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => return ExitStatus::from_raw(1 << 8),
        }
    }
}

/// Where the output of one life goes, and whom to tell that all of it is there.
struct Logs<'a> {
    log: &'a Log,
    copied: Sender<()>,
}

enum Pipe {
    Out(std::process::ChildStdout),
    Err(std::process::ChildStderr),
}

/// Processes that one end may leave to the next, at the most.
const GENERATIONS: usize = 10_000;

/// Ends what the instance left behind: its group, and what left the group but has
/// this process as its next parent, down to the last generation.
fn end_of_group(group: Option<Pid>) {
    if let Some(pid) = group {
        let _gone = kill_process_group(pid, Signal::KILL);
    }
    let own = std::process::id();
    let path = format!("/proc/{own}/task/{own}/children");
    for _ in 0..GENERATIONS {
        let children = std::fs::read_to_string(&path).unwrap_or_default();
        let pids = children
            .split_ascii_whitespace()
            .filter_map(|pid| pid.parse().ok());
        let children: Vec<Pid> = pids.filter_map(Pid::from_raw).collect();
        if children.is_empty() {
            return;
        }
        for child in children {
            let _gone = kill_process(child, Signal::KILL);
            // Its own children are ours only when it is gone.
            let _reaped = waitpid(Some(child), WaitOptions::empty());
        }
    }
}
