//! REAL, OURS, REAL: netstat-bpf between two runs of the netstat that it must equal.

use std::{
    env, fs,
    io::{self, Write as _},
    iter::zip,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    time::Instant,
};

use crate::{
    agent::Agent,
    continuous::Continuous,
    netns::Net,
    report::{Judgement, judge},
};

/// The netstat of the machine.
pub const REAL: &str = "/usr/bin/netstat";

/// Two REALs that differ prove nothing, so they are taken again; only a namespace that never comes
/// to rest takes this many.
const ATTEMPTS: usize = 10;

/// What one run said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Exit status; `None` after a signal.
    pub status: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Where netstat-bpf is: `NETSTAT_BPF`, or the newest place that cargo may have put it.
///
/// # Panics
/// When it is nowhere.
pub fn ours_path() -> PathBuf {
    if let Some(path) = env::var_os("NETSTAT_BPF") {
        return path.into();
    }
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    ["release", "debug"]
        .map(|profile| target.join(profile).join("netstat-bpf"))
        .into_iter()
        .find(|path| path.is_file())
        .expect("netstat-bpf is not built (remedy: cargo build -p netstat-user --release)")
}

/// Runs the real netstat.
pub fn real(net: &Net, args: &[&str]) -> Output {
    run(net.command(REAL), args)
}

/// Runs netstat-bpf once.
pub fn ours(net: &Net, args: &[&str]) -> Output {
    run(net.command(ours_path()), args)
}

/// netstat-bpf, run once, equals netstat: stdout as headers and a multiset of rows, stderr, status.
/// So does it when its rows come from the kernel's iterators, which it chooses by itself only on a
/// host with many open files. Returns the number of rows compared with one source.
///
/// # Panics
/// With a readable difference.
#[track_caller]
pub fn assert_same(net: &Net, args: &[&str]) -> usize {
    let both = try_same(net, args);
    // Each was compared with netstat at its own time: a TIME_WAIT row may have ended in between.
    told(&args.join(" "), both.map(|[rows, again]| rows.min(again)))
}

/// As [`assert_same`]; the difference is told instead. Gives the numbers of rows from the two
/// sources, which are asked one after the other: sockets may have timed out in between.
///
/// # Errors
/// A readable difference.
pub fn try_same(net: &Net, args: &[&str]) -> Result<[usize; 2], String> {
    let same_from = |source: &str| {
        try_settle(&format!("{} from {source}", args.join(" ")), || {
            let mut command = net.command(ours_path());
            command.env("NETSTAT_BPF_SOURCE", source);
            vec![[real(net, args), run(command, args), real(net, args)]]
        })
    };
    Ok([same_from("proc")?, same_from("kernel")?])
}

/// As [`assert_same`], with the rows of the agent behind a socket. That netstat-bpf went on without
/// it would show on stderr.
#[track_caller]
pub fn assert_same_by_agent(net: &Net, agent: &Agent, args: &[&str]) -> usize {
    told(
        &format!("{} from the agent", args.join(" ")),
        try_same_by_agent(net, agent, args),
    )
}

/// As [`assert_same_by_agent`]; the difference is told instead.
///
/// # Errors
/// A readable difference.
pub fn try_same_by_agent(net: &Net, agent: &Agent, args: &[&str]) -> Result<usize, String> {
    try_settle(&format!("{} from the agent", args.join(" ")), || {
        let mut command = net.command(ours_path());
        agent.demand(&mut command);
        vec![[real(net, args), run(command, args), real(net, args)]]
    })
}

/// As [`assert_same`], by a command that is made anew for each run.
#[track_caller]
pub fn assert_same_by(net: &Net, args: &[&str], command: impl Fn() -> Command) -> usize {
    settle(&format!("{} by another command", args.join(" ")), || {
        vec![[real(net, args), run(command(), args), real(net, args)]]
    })
}

/// As [`assert_same`], with an agent that may or may not answer.
#[track_caller]
pub fn assert_same_beside_agent(net: &Net, agent: &Agent, args: &[&str]) -> usize {
    settle(&format!("{} beside an agent", args.join(" ")), || {
        let mut command = net.command(ours_path());
        agent.offer(&mut command);
        vec![[real(net, args), run(command, args), real(net, args)]]
    })
}

/// As [`assert_same`], run by a user without any privilege.
#[track_caller]
pub fn assert_same_as_user(net: &Net, uid: u32, args: &[&str]) -> usize {
    assert_same_as(net, uid, args, |_| {})
}

/// As [`assert_same_as_user`], with the rows of the agent behind a socket.
#[track_caller]
pub fn assert_same_as_user_by_agent(net: &Net, agent: &Agent, uid: u32, args: &[&str]) -> usize {
    assert_same_as(net, uid, args, |command| agent.demand(command))
}

#[track_caller]
fn assert_same_as(net: &Net, uid: u32, args: &[&str], change: impl Fn(&mut Command)) -> usize {
    // The build directory may be closed to other users.
    let copy = net.dir().join("netstat-bpf");
    fs::copy(ours_path(), &copy).expect("copy netstat-bpf to where every user can run it");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("let every user run it");
    let as_user = |program: &Path| {
        let mut command = net.command("/bin/sh");
        command.args(["-c", AFTER_A_LINE]).arg(program);
        command.uid(uid).gid(uid).current_dir("/");
        change(&mut command);
        run_after_spawn(command, args)
    };
    let real = || as_user(Path::new(REAL));
    settle(&args.join(" "), || vec![[real(), as_user(&copy), real()]])
}

/// The first round of each running `netstat-bpf -c` that begins after this call equals netstat.
/// Returns the number of rows compared.
///
/// # Panics
/// With a readable difference.
#[track_caller]
pub fn assert_live(net: &Net, lives: &mut [Continuous]) -> usize {
    told("-c", try_live(net, lives))
}

/// As [`assert_live`]; the difference is told instead.
///
/// # Errors
/// A readable difference.
pub fn try_live(net: &Net, lives: &mut [Continuous]) -> Result<usize, String> {
    let reference = |live: &Continuous| {
        let args: Vec<_> = live.args().iter().map(String::as_str).collect();
        real(net, &args)
    };
    try_settle("-c", || {
        let before: Vec<_> = lives.iter().map(reference).collect();
        let now = Instant::now();
        let rounds: Vec<_> = lives.iter_mut().map(|live| live.round_since(now)).collect();
        let after: Vec<_> = lives.iter().map(reference).collect();
        zip(zip(before, rounds), after)
            .map(|((before, stdout), after)| {
                let ours = Output {
                    stdout,
                    ..before.clone()
                };
                [before, ours, after]
            })
            .collect()
    })
}

/// Takes triples of REAL, OURS, REAL until each says whether it agrees; returns the rows compared.
#[track_caller]
fn settle(what: &str, take: impl FnMut() -> Vec<[Output; 3]>) -> usize {
    told(what, try_settle(what, take))
}

/// Says how many rows were compared, for `--show-output` to sum.
///
/// # Panics
/// With a difference.
#[track_caller]
fn told(what: &str, compared: Result<usize, String>) -> usize {
    let rows = compared.unwrap_or_else(|difference| panic!("{difference}"));
    println!("{what}: {rows} rows compared");
    rows
}

fn try_settle(what: &str, mut take: impl FnMut() -> Vec<[Output; 3]>) -> Result<usize, String> {
    for _ in 0..ATTEMPTS {
        let mut rows = 0;
        let mut settled = true;
        for [before, ours, after] in take() {
            match judge(&before, &ours, &after) {
                Judgement::Same { rows: more } => rows += more,
                Judgement::Unsettled => settled = false,
                Judgement::Different(difference) => {
                    return Err(format!("netstat-bpf {what} differs:\n{difference}"));
                }
            }
        }
        if settled {
            return Ok(rows);
        }
    }
    Err(format!("netstat {what} never said the same twice"))
}

fn run(mut command: Command, args: &[&str]) -> Output {
    let output = command.args(args).output();
    outcome(&command, output)
}

/// A script that runs its arguments once it has read a line.
const AFTER_A_LINE: &str = "read -r go; exec \"$0\" \"$@\"";

/// As [`run`], for [`AFTER_A_LINE`]. To start a process as another user the library makes a pair of
/// sockets, and closes its end after the process runs: a fast one would list it.
fn run_after_spawn(mut command: Command, args: &[&str]) -> Output {
    command.args(args).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = command.spawn().and_then(|mut child| {
        let mut stdin = child.stdin.take().expect("stdin is a pipe");
        stdin.write_all(b"go\n")?;
        drop(stdin);
        child.wait_with_output()
    });
    outcome(&command, output)
}

fn outcome(command: &Command, output: io::Result<process::Output>) -> Output {
    let output = output.unwrap_or_else(|error| {
        panic!(
            "run {:?}: {error} (remedy for netstat: apt-get install net-tools)",
            command.get_program()
        )
    });
    Output {
        status: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
