//! Sockets as JSON: the same as netstat's rows, and more than they can say.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    os::unix::net::UnixListener,
    process::{Command, Stdio},
};

use netstat_tests::{
    netns::{Net, within},
    oracle::{ours_path, real},
    procs::Actor,
    wait,
};
use netstat_user::view::snapshot::{End, Head, Inet, Tail, Unix};
use serde_json::Value;

fn snapshot(net: &Net, source: &str, args: &[&str]) -> (Head, Vec<Value>) {
    let mut command = net.command(ours_path());
    command.env("NETSTAT_BPF_SOURCE", source).args(args);
    let output = command.output().expect("run netstat-bpf");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.is_empty(), "{told}");
    let mut value: Value = serde_json::from_slice(&output.stdout).expect("one JSON value");
    let sockets = value
        .as_object_mut()
        .and_then(|object| object.remove("sockets"))
        .expect("sockets");
    let head = serde_json::from_value(value).expect("a head of the schema");
    (head, sockets.as_array().expect("an array").clone())
}

/// `PROTO RECV-Q SEND-Q LOCAL REMOTE STATE`, as `netstat -anW` prints it.
fn row(socket: &Inet) -> String {
    let end = |end: &End| match end.port {
        0 => format!("{}:*", end.addr),
        port => format!("{}:{port}", end.addr),
    };
    let (local, remote) = (end(&socket.local), end(&socket.remote));
    let state = socket.state.as_deref().unwrap_or("");
    format!(
        "{} {} {} {local} {remote} {state}",
        socket.proto, socket.recv_q, socket.send_q
    )
}

fn inet(sockets: &[Value]) -> Vec<Inet> {
    let inet = sockets.iter().filter(|socket| socket["proto"] != "unix");
    let read = inet.map(|socket| {
        let read: Inet = serde_json::from_value(socket.clone()).expect("a socket of the schema");
        let again = serde_json::to_value(&read).expect("JSON");
        assert_eq!(&again, socket, "it comes back as it went");
        read
    });
    read.collect()
}

/// A server with every state of one process's end, and the one who calls it.
fn busy(net: &Net) -> (Actor, Actor, Actor) {
    let (server, client) = (net.actor_named("server"), net.actor_named("client"));
    let (listener, address) = server.listen("127.0.0.1:0");
    let (called, _) = client.connect(address);
    let accepted = server.accept(listener);
    client.write(called, 77);
    let child = server.fork();
    server.listen("[::1]:0");
    let (closed, _) = client.connect(address);
    let second = server.accept(listener);
    // A full socket that becomes TIME_WAIT makes an event; a minisock in FIN_WAIT2 need not.
    client.shut_down(closed);
    server.close(second);
    client.close(closed);
    child.close(accepted);
    // Nobody accepts this one.
    client.connect(address);
    (server, client, child)
}

#[test]
fn rows_are_netstats() {
    within(|net| {
        let (server, _client, child) = busy(net);
        for source in ["proc", "kernel"] {
            for args in [&["-a", "-t", "-u"][..], &["-t"], &["-l", "-t", "-6"]] {
                let theirs = [args, &["-n", "-W"]].concat();
                let text = real(net, &theirs).stdout;
                let words = |line: &str| {
                    let words: Vec<_> = line.split_whitespace().collect();
                    words.join(" ")
                };
                let rows = text.lines().skip(2).map(words);
                let rows: BTreeSet<String> = rows.collect();
                let (head, sockets) = snapshot(net, source, &[args, &["--json"]].concat());
                assert_eq!(u64::from(head.netns), net.inode());
                assert_eq!(head.source, source);
                assert_eq!((head.exact_since, head.lost), (None, None));
                let sockets = inet(&sockets);
                let ours = sockets
                    .iter()
                    .map(|socket| row(socket).trim_end().to_owned());
                assert_eq!(ours.collect::<BTreeSet<_>>(), rows, "{source} {args:?}");
            }
            let (_, sockets) = snapshot(net, source, &["-l", "-t", "--json"]);
            let listeners = inet(&sockets);
            let shared = listeners.iter().find(|socket| socket.family == "ipv4");
            let holders = &shared.expect("a listener").holders;
            let mut pids: Vec<u32> = holders.iter().map(|holder| holder.pid).collect();
            let mut expected = [server.pid(), child.pid()];
            expected.sort_unstable();
            pids.retain(|pid| expected.contains(pid));
            assert_eq!(pids, expected, "{holders:?}");
            for holder in holders {
                let group = format!("/proc/{}/cgroup", holder.pid);
                let group = std::fs::read_to_string(group).expect("read its groups");
                let path = holder.cgroup.as_deref().expect("a group");
                assert!(group.contains(path), "{path} is not in {group}");
                assert!(holder.comm.is_some() && holder.program.is_some());
            }
        }
    });
}

/// From events: who had a TIME_WAIT, how long a socket is in its state, since when it is exact.
#[test]
fn a_table_fed_by_events_tells_what_rows_cannot() {
    within(|net| {
        let mut command = net.command(ours_path());
        command.args(["-c", "-a", "-t", "--json-lines"]);
        let mut ours = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start netstat-bpf");
        let stdout = ours.stdout.take().expect("a pipe");
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let mut round = move || {
            let head = lines.next().expect("a head");
            let head: Head = serde_json::from_str(&head).expect("a head of the schema");
            let mut sockets = Vec::new();
            for line in lines.by_ref() {
                let value: Value = serde_json::from_str(&line).expect("JSON");
                if value["event"] == "end" {
                    let tail: Tail = serde_json::from_value(value).expect("a tail");
                    assert_eq!(tail.sockets as usize, sockets.len());
                    break;
                }
                sockets.push(value);
            }
            (head, inet(&sockets))
        };
        let (first, _) = round();
        assert_eq!(first.source, "events");
        let (_server, client, _child) = busy(net);
        let (head, time_wait) = wait::until("a TIME_WAIT", || {
            let (head, sockets) = round();
            let mut sockets = sockets.into_iter();
            let found = sockets.find(|s| s.state.as_deref() == Some("TIME_WAIT"))?;
            Some((head, found))
        });
        assert!(head.exact_since_ns.is_some_and(|since| since < head.ts_ns));
        assert_eq!((head.lost, head.in_doubt), (Some(0), Some(false)));
        let owner = time_wait.last_owner.as_ref();
        let owner = owner.unwrap_or_else(|| panic!("no last owner: {head:?} {time_wait:?}"));
        assert_eq!(owner.pid, client.pid());
        assert!(time_wait.holders.is_empty());
        assert_eq!(time_wait.direction.as_deref(), Some("out"));
        assert!(
            time_wait
                .in_state_ns
                .is_some_and(|time| time < 30_000_000_000)
        );
        ours.kill().expect("end netstat-bpf");
        ours.wait().expect("wait for netstat-bpf");
    });
}

#[test]
fn a_hostile_path_is_one_json_string() {
    within(|net| {
        use std::os::unix::ffi::OsStrExt as _;
        let name = std::ffi::OsStr::from_bytes(b"x\"\\\x1b]0;\xff\x9b");
        let path = net.dir().join(name);
        let _listener = UnixListener::bind(&path).expect("bind");
        let (_, sockets) = snapshot(net, "proc", &["-l", "-x", "--json"]);
        let path = String::from_utf8_lossy(path.as_os_str().as_bytes()).into_owned();
        let found = sockets.iter().find(|socket| socket["path"] == path);
        let found = found.unwrap_or_else(|| panic!("no {path:?} in {sockets:?}"));
        let read: Unix = serde_json::from_value(found.clone()).expect("a socket of the schema");
        assert_eq!(
            (read.r#type.as_str(), read.state.as_deref()),
            ("STREAM", Some("LISTENING"))
        );
        assert_eq!(read.holders[0].pid, std::process::id());
    });
}

#[test]
fn what_has_no_json_is_refused() {
    for args in [["--json", "-r"], ["--json", "-i"], ["--json-lines", "-g"]] {
        let output = Command::new(ours_path()).args(args).output();
        let output = output.expect("run netstat-bpf");
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(output.stdout.is_empty(), "{args:?}");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.starts_with("netstat-bpf: --json"), "{told}");
    }
}
