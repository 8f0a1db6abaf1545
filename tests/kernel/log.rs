//! `netstat-bpf log`: every change of state once, in order, with the owner of the socket.

use std::{net::SocketAddr, thread, time::Duration};

use netstat_tests::{
    log::{Event, Log},
    netns::{Net, within},
    peer::Peer,
    procs::Actor,
    tun::{KERNEL_V4, PEER_V4},
    wait,
};

/// State before and after.
type Change = (&'static str, &'static str);

const LISTENER: [Change; 2] = [("CLOSE", "LISTEN"), ("LISTEN", "CLOSE")];

/// The end that calls and closes first, up to TIME_WAIT.
const CALLER: [Change; 5] = [
    ("CLOSE", "SYN_SENT"),
    ("SYN_SENT", "ESTABLISHED"),
    ("ESTABLISHED", "FIN_WAIT1"),
    ("FIN_WAIT1", "FIN_WAIT2"),
    ("FIN_WAIT2", "TIME_WAIT"),
];

/// The end that is called and closes last.
const CALLED: [Change; 5] = [
    ("CLOSE", "SYN_RECV"),
    ("SYN_RECV", "ESTABLISHED"),
    ("ESTABLISHED", "CLOSE_WAIT"),
    ("CLOSE_WAIT", "LAST_ACK"),
    ("LAST_ACK", "CLOSE"),
];

const DROPPED_REQUEST: [Change; 2] = [("CLOSE", "SYN_RECV"), ("SYN_RECV", "CLOSE")];

const TIME_WAIT_ENDS: [Change; 1] = [("TIME_WAIT", "CLOSE")];

const CALLER_RESET: [Change; 3] = [
    ("CLOSE", "SYN_SENT"),
    ("SYN_SENT", "ESTABLISHED"),
    ("ESTABLISHED", "CLOSE"),
];

const REFUSED: [Change; 2] = [("CLOSE", "SYN_SENT"), ("SYN_SENT", "CLOSE")];

/// Waits for exactly these changes, each with this owner, of the sockets that are `wanted`.
#[track_caller]
fn expect(
    log: &mut Log,
    what: &str,
    wanted: impl Fn(&Event) -> bool,
    changes: &[Change],
    owner: &Actor,
) -> Vec<Event> {
    let mut events = Vec::new();
    let complete = wait::try_until(|| {
        events = log.so_far(&wanted);
        (events.len() >= changes.len()).then_some(())
    });
    let seen: Vec<Change2> = events.iter().map(change).collect();
    let promised: Vec<Change2> = changes
        .iter()
        .map(|(old, new)| (old.to_string(), new.to_string(), Some(owner.pid())))
        .collect();
    let lines: Vec<_> = events.iter().map(|event| event.line.as_str()).collect();
    assert!(
        complete.is_some() && seen == promised,
        "{what} should log {promised:?}\nand logs {seen:?}\n{}",
        lines.join("\n")
    );
    assert!(
        events.is_sorted_by_key(|event| event.ts_ns),
        "{what}: time goes back\n{}",
        lines.join("\n")
    );
    events
}

/// State before, state after, PID of the owner.
type Change2 = (String, String, Option<u32>);

fn change(event: &Event) -> Change2 {
    let owner = event.owner.as_ref().map(|(pid, _)| *pid);
    (event.old.clone(), event.new.clone(), owner)
}

/// The server's end and its listener are told apart by the other end's port.
struct Call {
    server: Actor,
    client: Actor,
    address: SocketAddr,
}

impl Call {
    fn is_listener(&self) -> impl Fn(&Event) -> bool + use<> {
        let port = self.address.port();
        move |event| event.local.port() == port && event.remote.port() == 0
    }

    fn is_caller(&self) -> impl Fn(&Event) -> bool + use<> {
        let port = self.address.port();
        move |event| event.remote.port() == port
    }

    fn is_called(&self) -> impl Fn(&Event) -> bool + use<> {
        let port = self.address.port();
        move |event| event.local.port() == port && event.remote.port() != 0
    }
}

/// A connection from one process to another; `full` leaves the caller a full socket in FIN_WAIT2.
fn connection(net: &Net, listen_at: &str, full: bool) {
    let mut log = Log::start(net);
    let (server, client) = (net.actor_named("server"), net.actor_named("client"));
    let (listener, address) = server.listen(listen_at);
    let call = Call {
        server,
        client,
        address,
    };
    let (called, _) = call.client.connect(address);
    let accepted = call.server.accept(listener);
    if full {
        call.client.shut_down(called);
        expect_state(&mut log, &call, "FIN_WAIT2");
        call.server.close(accepted);
        expect_state(&mut log, &call, "TIME_WAIT");
        call.client.close(called);
    } else {
        call.client.close(called);
        expect_state(&mut log, &call, "FIN_WAIT2");
        call.server.close(accepted);
    }
    call.server.close(listener);
    let caller = expect(
        &mut log,
        "the caller",
        call.is_caller(),
        &CALLER,
        &call.client,
    );
    let called = expect(
        &mut log,
        "the called",
        call.is_called(),
        &CALLED,
        &call.server,
    );
    expect(
        &mut log,
        "the listener",
        call.is_listener(),
        &LISTENER,
        &call.server,
    );
    assert_durations(&caller);
    assert_durations(&called);
    assert_one_socket(&caller[1..]);
    assert_one_socket(&called[1..]);
}

/// The caller has come to a state.
#[track_caller]
fn expect_state(log: &mut Log, call: &Call, state: &str) {
    wait::until(&format!("the log to say {state}"), || {
        let events = log.so_far(call.is_caller());
        events.iter().any(|event| event.new == state).then_some(())
    });
}

/// Time in a state is the time between the events that began and ended it.
#[track_caller]
fn assert_durations(events: &[Event]) {
    /// Two clocks are read one after the other.
    const SLACK_NS: u64 = 5_000_000;
    for pair in events.windows(2) {
        let between = pair[1].ts_ns - pair[0].ts_ns;
        let said = pair[1].in_old_ns;
        assert!(
            said.is_some_and(|said| said.abs_diff(between) < SLACK_NS),
            "{} ns lie between the events, in_old_ns is {said:?}: {}",
            between,
            pair[1].line
        );
    }
}

/// Past the first event, in which the local port may still be unknown, addresses stay.
#[track_caller]
fn assert_one_socket(events: &[Event]) {
    for event in events {
        let first = &events[0];
        assert_eq!(
            (event.local, event.remote),
            (first.local, first.remote),
            "addresses change: {}",
            event.line
        );
    }
}

#[test]
fn a_connection_v4() {
    within(|net| connection(net, "127.0.0.1:0", true));
}

#[test]
fn a_connection_v6() {
    within(|net| connection(net, "[::1]:0", true));
}

/// close() makes the caller a minisocket in FIN_WAIT2, which no state event speaks of. Its timer
/// is moved by less than the kernel's timer wheel can tell, so that nothing but its own substate
/// says when it comes to TIME_WAIT.
#[test]
fn a_connection_that_is_closed_at_once() {
    within(|net| connection(net, "127.0.0.1:0", false));
}

/// As above, but the timer of the minisocket moves far enough for the kernel to speak of it.
#[test]
fn a_connection_that_is_closed_at_once_with_a_short_timeout() {
    within(|net| {
        net.sysctl("ipv4/tcp_fin_timeout", "20");
        connection(net, "127.0.0.1:0", false);
    });
}

/// An IPv6 socket that calls an IPv4 one: two families, one connection.
#[test]
fn a_mapped_caller() {
    within(|net| {
        let mut log = Log::start(net);
        let (server, client) = (net.actor_named("server"), net.actor_named("client"));
        let (_, address) = server.listen("127.0.0.1:0");
        client.connect_mapped(address);
        let caller = move |event: &Event| event.remote.port() == address.port();
        let caller = expect(&mut log, "the caller", caller, &CALLER[..2], &client);
        for event in caller {
            assert_eq!(event.proto, "tcp6", "{}", event.line);
            assert_eq!(
                event.remote.ip().to_canonical(),
                address.ip(),
                "{}",
                event.line
            );
        }
        let called =
            move |event: &Event| event.local.port() == address.port() && event.remote.port() != 0;
        for event in expect(&mut log, "the called", called, &CALLED[..2], &server) {
            assert_eq!(event.proto, "tcp", "{}", event.line);
        }
    });
}

/// Once a child has accepted a connection of its parent's listener, it is the child's.
#[test]
fn a_connection_that_a_child_accepts() {
    within(|net| {
        let mut log = Log::start(net);
        let (parent, client) = (net.actor_named("parent"), net.actor_named("client"));
        let (listener, address) = parent.listen("127.0.0.1:0");
        let child = parent.fork();
        for pause in PAUSES_S {
            let (called, local) = client.connect(address);
            child.accept(listener);
            thread::sleep(Duration::from_secs(pause));
            // The FIN comes from the client's context.
            client.shut_down(called);
            let closing = move |event: &Event| event.remote == local && event.new == "CLOSE_WAIT";
            let told = wait::until("the end of the call", || {
                log.so_far(closing)
                    .into_iter()
                    .find_map(|event| event.owner)
            });
            if told != (parent.pid(), "listener".to_owned()) {
                expect(&mut log, "the called", closing, &CALLED[2..3], &child);
                return;
            }
        }
        panic!("the log never looked who accepted");
    });
}

/// Looking for owners may take the log a tenth of the time. Until it may look again, it says that the
/// owner is the listener's: the longer a look takes, as in an emulated machine, the longer it says so.
const PAUSES_S: [u64; 5] = [0, 1, 4, 16, 64];

/// A descriptor that was handed over takes the ownership along.
#[test]
fn a_connection_that_is_passed_on() {
    within(|net| {
        let mut log = Log::start(net);
        let (server, client) = (net.actor_named("server"), net.actor_named("client"));
        let (one, other) = server.pair();
        let worker = server.fork();
        let (listener, address) = server.listen("127.0.0.1:0");
        let (called, local) = client.connect(address);
        let accepted = server.accept(listener);
        server.pass(one, accepted);
        worker.receive(other);
        server.close(accepted);
        wait::until_owners_are_looked_for();
        client.shut_down(called);
        let closing = move |event: &Event| event.remote == local && event.new == "CLOSE_WAIT";
        expect(&mut log, "the called", closing, &CALLED[2..3], &worker);
    });
}

#[test]
fn a_request_that_is_dropped() {
    within(|net| {
        net.tun();
        let mut log = Log::start(net);
        let server = net.actor_named("server");
        let (_, address) = server.listen("0.0.0.0:0");
        let own = SocketAddr::new(PEER_V4.into(), 7000);
        let kernel = SocketAddr::new(KERNEL_V4.into(), address.port());
        let mut peer = Peer::calls(net.tun(), own, kernel);
        peer.reset();
        let request = move |event: &Event| event.remote == own;
        expect(&mut log, "the request", request, &DROPPED_REQUEST, &server);
    });
}

#[test]
fn time_wait_ends_with_its_last_owner() {
    within(|net| {
        let tun = net.tun();
        let mut log = Log::start(net);
        let client = net.actor_named("client");
        let own = SocketAddr::new(PEER_V4.into(), 7001);
        let (called, _) = client.call(own);
        let mut peer = Peer::called(tun, own);
        peer.answer();
        client.shut_down(called);
        peer.see_fin();
        peer.finish();
        // RFC 1337 is off by default: a RST ends TIME_WAIT at once.
        peer.reset();
        let changes: Vec<_> = CALLER.into_iter().chain(TIME_WAIT_ENDS).collect();
        let caller = move |event: &Event| event.remote == own;
        expect(&mut log, "the caller", caller, &changes, &client);
    });
}

#[test]
fn a_reset() {
    within(|net| {
        let tun = net.tun();
        let mut log = Log::start(net);
        let client = net.actor_named("client");
        let own = SocketAddr::new(PEER_V4.into(), 7002);
        client.call(own);
        let mut peer = Peer::called(tun, own);
        peer.answer();
        peer.reset();
        let caller = move |event: &Event| event.remote == own;
        expect(&mut log, "the caller", caller, &CALLER_RESET, &client);
    });
}

#[test]
fn a_call_that_is_refused() {
    within(|net| {
        let mut log = Log::start(net);
        let (server, client) = (net.actor(), net.actor());
        let (listener, address) = server.listen("127.0.0.1:0");
        server.close(listener);
        let refusal = client.try_tell(&format_args!("connect {address}"));
        assert!(refusal.is_err(), "a closed port accepts calls");
        let caller = move |event: &Event| event.remote == address;
        expect(&mut log, "the caller", caller, &REFUSED, &client);
    });
}

/// The owner is the socket's, not the process in whose context the kernel changed its state.
#[test]
fn an_unaccepted_connection_is_its_listeners() {
    within(|net| {
        let mut log = Log::start(net);
        let (server, client) = (net.actor_named("server"), net.actor_named("client"));
        let (_, address) = server.listen("127.0.0.1:0");
        let call = Call {
            server,
            client,
            address,
        };
        call.client.connect(address);
        let called = call.is_called();
        let events = expect(&mut log, "the called", called, &CALLED[..2], &call.server);
        for event in events {
            assert_eq!(event.provenance(), Some("listener"), "{}", event.line);
        }
    });
}

/// A socket that was there before the log has an owner too, also in an event that comes from the
/// other process. How that owner is known depends on when the log looks again: before the socket is
/// closed, while it is, or not at all.
#[test]
fn a_socket_older_than_the_log() {
    within(|net| {
        let (server, client) = (net.actor_named("server"), net.actor_named("client"));
        let (listener, address) = server.listen("127.0.0.1:0");
        let (called, local) = client.connect(address);
        let accepted = server.accept(listener);
        let mut log = Log::start(net);
        server.close(accepted);
        client.close(called);
        let caller = move |event: &Event| event.local == local;
        let events = expect(&mut log, "the caller", caller, &CALLED[2..], &client);
        let known = events[0].provenance();
        assert!(
            ["seeded", "resolved", "seen"].map(Some).contains(&known),
            "{}",
            events[0].line
        );
    });
}

/// A reset ends a socket before anybody can look again: what is told is what the start found.
#[test]
fn a_socket_older_than_the_log_that_is_reset() {
    within(|net| {
        let (server, client) = (net.actor_named("server"), net.actor_named("client"));
        let (listener, address) = server.listen("127.0.0.1:0");
        let (_, local) = client.connect(address);
        let accepted = server.accept(listener);
        let mut log = Log::start(net);
        server.abort(accepted);
        let caller = move |event: &Event| event.local == local;
        let events = expect(&mut log, "the caller", caller, &CALLER_RESET[2..], &client);
        assert_eq!(events[0].provenance(), Some("seeded"), "{}", events[0].line);
    });
}

/// The line for people: time, namespace unless it is the only one, protocol, both ends, both
/// states, time in the old one, owner, and how the owner is known.
#[test]
fn text() {
    within(|net| {
        let mut log = Log::start_text(net);
        let (server, client) = (net.actor_named("server"), net.actor_named("client"));
        let (_, address) = server.listen("127.0.0.1:0");
        let (called, local) = client.connect(address);
        client.shut_down(called);
        let cells = ["tcp", &local.to_string(), &address.to_string()];
        let line = log.line_with(&[cells[1], "ESTABLISHED -> FIN_WAIT1"]);
        let mut words: Vec<_> = line.split(' ').collect();
        assert!(is_time(words[0]), "no time at the start of {line}");
        let namespace = format!("netns={}", net.inode());
        words.retain(|word| *word != namespace);
        assert_eq!(words[1..4], cells, "{line}");
        assert_eq!(words[4..7], ["ESTABLISHED", "->", "FIN_WAIT1"], "{line}");
        let duration = words[7]
            .strip_suffix('s')
            .and_then(|s| s.parse::<f64>().ok());
        assert!(duration.is_some(), "no time in the old state in {line}");
        let owner = format!("{}/client", client.pid());
        assert_eq!(words[8..], [&owner, "seen"], "{line}");
    });
}

/// `2026-11-23T19:25:00.123456`, maybe with an offset.
fn is_time(word: &str) -> bool {
    let pattern = "dddd-dd-ddTdd:dd:dd.dddddd";
    word.len() >= pattern.len()
        && pattern
            .chars()
            .zip(word.chars())
            .all(|(wanted, found)| match wanted {
                'd' => found.is_ascii_digit(),
                other => found == other,
            })
}
