//! A table that has lost events says so and is right again.

use std::{fs, process::Stdio};

use netstat_tests::{
    continuous::Continuous,
    netns::within,
    oracle::{assert_live, ours_path},
    storm::storm,
    wait,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Twice what the ring holds: each connection makes about eight events of 104 bytes, the ring has
/// 16 MiB.
const STORM: usize = 40_000;

#[test]
fn a_stopped_reader_loses_events_and_heals() {
    within(|net| {
        let (server, client) = (net.actor(), net.actor());
        let (listener, address) = server.listen("127.0.0.1:0");
        let (old, _) = client.connect(address);
        let accepted = server.accept(listener);

        let errors = net.dir().join("stderr");
        let mut command = net.command("/bin/sh");
        command
            .arg("-c")
            .arg("exec \"$1\" -c -anpt 2>\"$2\"")
            .arg("sh")
            .arg(ours_path())
            .arg(&errors);
        let mut live = [Continuous::adopt(command, &["-anpt"])];
        assert_live(net, &mut live);

        let pid = Pid::from_raw(i32::try_from(live[0].pid()).expect("a process id"));
        kill(pid, Signal::SIGSTOP).expect("stop netstat-bpf");
        // Sockets that come and sockets that go while nobody reads, on both sides of the flood.
        let early = client.connect(address).0;
        storm(STORM);
        client.close(old);
        server.close(accepted);
        let late = server.listen("127.0.0.1:0").0;
        kill(pid, Signal::SIGCONT).expect("continue netstat-bpf");

        let rows = assert_live(net, &mut live);
        assert!(
            rows >= 3,
            "{rows} rows: two listeners and a connection are there"
        );
        wait::until("the loss is told on stderr", || {
            let text = fs::read_to_string(&errors).expect("read stderr");
            text.contains("events lost").then_some(())
        });
        assert_live(net, &mut live);
        client.close(early);
        server.close(late);
        assert_live(net, &mut live);
    });
}

#[test]
fn the_second_copy_of_a_hook_is_silent_while_the_first_runs() {
    within(|net| {
        let lines = net.dir().join("lines");
        let mut command = net.command(ours_path());
        let out = fs::File::create(&lines).expect("create a file");
        command.arg("log").stdout(out).stderr(Stdio::piped());
        let log = command.spawn().expect("start netstat-bpf log");
        // A line shows that all hooks are attached.
        wait::until("a line of the log", || {
            storm(10);
            (fs::metadata(&lines).expect("the file is there").len() > 0).then_some(())
        });
        storm(500);
        let pid = Pid::from_raw(i32::try_from(log.id()).expect("a process id"));
        kill(pid, Signal::SIGINT).expect("interrupt netstat-bpf");
        let output = log.wait_with_output().expect("netstat-bpf ends");
        assert!(output.status.success(), "{:?}", output.status);
        let summary = String::from_utf8(output.stderr).expect("text");
        let events = number_before(&summary, " events, ");
        let second = number_before(&summary, " events came from the second only");
        assert!(events >= 500 * 6, "{summary}");
        assert!(second * 20 < events, "{summary}");
    });
}

/// The number that stands right before `words`.
fn number_before(text: &str, words: &str) -> usize {
    let (before, _) = text
        .split_once(words)
        .unwrap_or_else(|| panic!("no {words:?} in {text:?}"));
    let number = before.rsplit(' ').next().unwrap_or_default();
    number
        .parse()
        .unwrap_or_else(|error| panic!("{number:?} in {text:?}: {error}"))
}
