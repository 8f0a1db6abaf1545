//! A running `-c` seeds once: no later round reads /proc/net/tcp or walks /proc/PID/fd.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use netstat_tests::{
    continuous::Continuous,
    netns::{Net, within},
    oracle::{assert_live, ours_path},
};

#[test]
fn later_rounds_read_no_tables_and_walk_no_descriptors() {
    check(&["-anpt"]);
}

/// Raw and UDP-Lite sockets have no iterator: only their tables are read.
#[test]
fn later_rounds_of_all_kinds_read_raw_tables_only() {
    check(&["-anp"]);
}

fn check(args: &[&str]) {
    within(|net| {
        let (server, client) = (net.actor(), net.actor());
        let (listener, address) = server.listen("127.0.0.1:0");
        let (mut command, trace) = traced(net, "trace");
        command.arg("-c").args(args);
        let mut live = [Continuous::adopt(command, args)];
        assert_live(net, &mut live);
        let seeded = fs::read_to_string(&trace).expect("read the trace").len();
        assert!(seeded > 0, "strace has written nothing");

        // The rounds that count are about sockets that the first one cannot have seen.
        let (called, _) = client.connect(address);
        client.tell("udp 127.0.0.1:0");
        client.tell("unix-pair stream");
        let accepted = server.accept(listener);
        assert_live(net, &mut live);
        client.close(called);
        server.close(accepted);
        assert_live(net, &mut live);
        let child = server.fork();
        assert_live(net, &mut live);
        drop(child);

        assert_none(&trace, seeded);
    });
}

/// netstat-bpf under strace, and the file that it writes to.
pub(crate) fn traced(net: &Net, name: &str) -> (Command, PathBuf) {
    let trace = net.dir().join(name);
    let mut command = strace(net);
    command.arg("-o").arg(&trace).arg(ours_path());
    (command, trace)
}

/// No call after so many bytes of the trace is one of a rescan.
#[track_caller]
pub(crate) fn assert_none(trace: &Path, seeded: usize) {
    let text = fs::read_to_string(trace).expect("read the trace");
    let (_, later) = text.split_at(seeded);
    assert!(!later.is_empty(), "nothing was traced");
    let rescans: Vec<_> = later.lines().filter(|line| is_rescan(line)).collect();
    assert!(
        rescans.is_empty(),
        "rounds after the first rescan, in {} calls like\n{}",
        rescans.len(),
        rescans[..rescans.len().min(8)].join("\n")
    );
}

/// A line of strace that reads a socket table, or lists the descriptors of a process.
fn is_rescan(line: &str) -> bool {
    let opens = line.contains("open(") || line.contains("openat(");
    let table = ["tcp", "tcp6", "udp", "udp6", "unix"]
        .iter()
        .any(|table| line.contains(&format!("net/{table}\"")));
    // `-y` writes the path behind the descriptor.
    let lists = line.contains("getdents") && (line.contains("/fd>") || line.contains("/proc>"));
    (opens && (table || line.contains("/fd\""))) || lists
}

fn strace(net: &Net) -> Command {
    let probe = Command::new("strace").arg("-V").output();
    assert!(
        probe.is_ok_and(|output| output.status.success()),
        "strace is missing (remedy: apt-get install strace)"
    );
    let mut command = net.command("strace");
    // With -D it is the traced program, not strace, that is our child and that is killed in the end.
    command.args(["-D", "-f", "-y", "-e", "trace=open,openat,getdents64"]);
    command
}

#[test]
fn the_filter_knows_a_rescan() {
    let lines = [
        r#"7 openat(AT_FDCWD</>, "/proc/net/tcp", O_RDONLY) = 3</proc/7/net/tcp>"#,
        r#"openat(AT_FDCWD, "/proc/self/net/tcp6", O_RDONLY|O_CLOEXEC) = 3"#,
        r#"openat(AT_FDCWD</>, "/proc/12/fd", O_RDONLY|O_DIRECTORY) = 4</proc/12/fd>"#,
        "getdents64(4</proc/12/fd>, 0x55 /* 9 entries */, 32768) = 216",
        "getdents64(3</proc>, 0x55 /* 99 entries */, 32768) = 2160",
    ];
    for line in lines {
        assert!(is_rescan(line), "{line}");
    }
    let innocent = r#"openat(AT_FDCWD</>, "/proc/12/cmdline", O_RDONLY) = 4</proc/12/cmdline>"#;
    assert!(!is_rescan(innocent));
}
