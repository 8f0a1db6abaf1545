//! `netstat-bpf log`: what is shown, and outputs that are slow, full or a journal.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    os::unix::net::UnixDatagram,
    process::{Child, Stdio},
    thread,
    time::Duration,
};

use netstat_tests::{
    netns::{Net, within},
    oracle::ours_path,
    storm::storm,
    wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

fn start(net: &Net, args: &[&str], stdout: Stdio) -> Child {
    let mut command = net.command(ours_path());
    command
        .args(["log", "--no-agent"])
        .args(args)
        .stdout(stdout);
    command.stderr(Stdio::piped());
    command.spawn().expect("start netstat-bpf log")
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    kill(pid, Signal::SIGINT).expect("interrupt netstat-bpf");
}

/// Waits until the hooks are attached: a listener that comes and goes is told.
fn wait_for_hooks(net: &Net, told: impl Fn() -> bool) {
    let marker = net.actor_named("marker");
    wait::until("the log's first line", || {
        let (fd, _) = marker.listen("127.0.0.1:0");
        marker.close(fd);
        told().then_some(())
    });
}

#[test]
fn only_what_the_filters_want_is_shown() {
    within(|net| {
        let (server, client) = (net.actor_named("server"), net.actor_named("client"));
        let (listener, address) = server.listen("127.0.0.1:0");
        let (port, inode) = (address.port().to_string(), net.inode().to_string());
        let file = net.dir().join("lines");
        let out = File::create(&file).expect("create a file");
        let args = [
            "--json",
            "--netns",
            &inode,
            "--dst=127.0.0.0/8",
            "--dport",
            &port,
            "--direction=out",
            "--state=established",
            "--program=client",
        ];
        let log = start(net, &args, out.into());
        let lines = || fs::read_to_string(&file).expect("read the lines");
        wait::until("the log's first line", || {
            let (fd, _) = client.connect(address);
            let accepted = server.accept(listener);
            client.close(fd);
            server.close(accepted);
            (!lines().is_empty()).then_some(())
        });
        interrupt(&log);
        let output = log.wait_with_output().expect("netstat-bpf ends");
        assert!(output.status.success(), "{output:?}");
        let lines = lines();
        assert!(lines.lines().count() >= 1, "{lines}");
        for line in lines.lines() {
            let event: Value = serde_json::from_str(line).expect("JSON");
            let states = [event["old"].as_str(), event["new"].as_str()];
            assert!(states.contains(&Some("ESTABLISHED")), "{line}");
            assert_eq!(event["remote"]["port"], address.port(), "{line}");
            assert_eq!(event["owner"]["pid"], client.pid(), "{line}");
            assert_eq!(event["direction"], "out", "{line}");
            assert_eq!(event["netns"], net.inode(), "{line}");
        }
    });
}

#[test]
fn a_full_disk_is_an_error() {
    within(|net| {
        let full = File::options().write(true).open("/dev/full");
        let mut log = start(net, &[], full.expect("open /dev/full").into());
        let marker = net.actor_named("marker");
        let status = wait::until("the end of netstat-bpf log", || {
            let (fd, _) = marker.listen("127.0.0.1:0");
            marker.close(fd);
            log.try_wait().expect("wait for netstat-bpf")
        });
        let mut told = String::new();
        let mut stderr = log.stderr.take().expect("stderr is a pipe");
        stderr.read_to_string(&mut told).expect("text");
        assert_eq!(status.code(), Some(1), "{told}");
        let expected = "netstat-bpf: write the log to stdout: No space left on device";
        assert!(told.starts_with(expected), "{told}");
    });
}

/// More than a pipe and the queue hold. The kernel's ring holds it all, so that nothing is lost
/// there however late the log comes to run.
const STORM: usize = 5000;

#[test]
fn a_slow_reader_loses_lines_and_is_told_how_many() {
    within(|net| {
        let mut log = start(net, &["--json", "--buffer=1"], Stdio::piped());
        let mut reader = BufReader::new(log.stdout.take().expect("stdout is a pipe"));
        let marker = net.actor_named("marker");
        let mut first = String::new();
        thread::scope(|scope| {
            let reading = scope.spawn(|| reader.read_line(&mut first).expect("a line"));
            wait::until("the log's first line", || {
                let (fd, _) = marker.listen("127.0.0.1:0");
                marker.close(fd);
                reading.is_finished().then_some(())
            });
        });
        storm(STORM);
        wait_until_idle(log.id());
        interrupt(&log);
        let (mut shown, mut dropped) = (1, 0);
        for line in reader.lines() {
            let event: Value = serde_json::from_str(&line.expect("text")).expect("JSON");
            match event["event"].as_str() {
                Some("state") => shown += 1,
                Some("dropped") => dropped += event["lines"].as_u64().expect("a number"),
                other => panic!("{other:?}"),
            }
        }
        let output = log.wait_with_output().expect("netstat-bpf ends");
        assert!(output.status.success(), "{output:?}");
        let told = String::from_utf8(output.stderr).expect("text");
        let summary = told.lines().last().expect("a summary");
        assert!(dropped > 0, "{told}");
        let expected = format!(" {} lines, {dropped} of them dropped", shown + dropped);
        assert!(summary.contains(&expected), "{shown} shown: {told}");
        assert!(summary.contains("lost: 0 ring full"), "{told}");
        let note = "lines dropped: the output does not take them fast enough";
        assert!(told.contains(note), "{told}");
    });
}

/// Waits until a process uses no processor time between two looks.
fn wait_until_idle(pid: u32) {
    let used = || {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
        let fields: Vec<_> = stat
            .rsplit(')')
            .next()
            .expect("fields")
            .split(' ')
            .collect();
        (fields[12].to_owned(), fields[13].to_owned())
    };
    let mut before = used();
    wait::until("netstat-bpf log to be idle", || {
        thread::sleep(Duration::from_millis(300));
        let now = used();
        let same = now == before;
        before = now;
        same.then_some(())
    });
}

#[test]
fn entries_of_the_journal() {
    within(|net| {
        // Not journald itself: a socket that speaks its protocol, which systemd documents.
        let path = net.dir().join("journal");
        let journal = UnixDatagram::bind(&path).expect("bind a socket");
        journal
            .set_nonblocking(true)
            .expect("set the socket not to block");
        let option = format!("--journal={}", path.display());
        let log = start(net, &[&option], Stdio::null());
        let read = || {
            let mut entry = vec![0; 1 << 16];
            let length = journal.recv(&mut entry).ok()?;
            entry.truncate(length);
            Some(String::from_utf8(entry).expect("text"))
        };
        wait_for_hooks(net, || read().is_some());
        let (server, client) = (net.actor_named("server"), net.actor_named("client"));
        let (listener, address) = server.listen("127.0.0.1:0");
        let (_, local) = client.connect(address);
        server.close(listener);
        let port = format!("NETSTAT_LOCAL_PORT={}", local.port());
        let entry = wait::until("the end of the call", || {
            let entry = read()?;
            (entry.contains(&port) && entry.contains("NETSTAT_NEW=CLOSE\n")).then_some(entry)
        });
        for line in [
            "MESSAGE=",
            "PRIORITY=6",
            "SYSLOG_IDENTIFIER=netstat-bpf",
            "NETSTAT_PROTO=tcp",
            "NETSTAT_REMOTE_ADDR=127.0.0.1",
            "NETSTAT_OLD=ESTABLISHED",
            "NETSTAT_DIRECTION=out",
            &format!("NETSTAT_OWNER_PID={}", client.pid()),
            "NETSTAT_OWNER_PROGRAM=client",
            "NETSTAT_CLOSED_BY=remote",
            "NETSTAT_WHY=rst-received",
        ] {
            let found = entry
                .lines()
                .any(|found| found == line || (line.ends_with('=') && found.starts_with(line)));
            assert!(found, "no {line:?} in {entry}");
        }
        interrupt(&log);
        let output = log.wait_with_output().expect("netstat-bpf ends");
        assert!(output.status.success(), "{output:?}");

        fs::remove_file(&path).expect("remove the socket");
        let log = start(net, &[&option], Stdio::null());
        let output = log.wait_with_output().expect("netstat-bpf ends");
        let told = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("no journal at"), "{told}");
    });
}
