//! `netstat-bpf log` at the end of a connection: what it carried, who closed it and why.

use std::net::SocketAddr;

use netstat_tests::{
    log::{Event, Log},
    netns::within,
    peer::Peer,
    tun::{KERNEL_V4, PEER_V4},
    wait,
};
use serde_json::Value;

/// Waits for the end of the only connection that is `wanted`.
#[track_caller]
fn end(log: &mut Log, what: &str, wanted: impl Fn(&Event) -> bool) -> (Event, Value) {
    wait::until(&format!("the end of {what}"), || {
        let ended = log.so_far(|event| wanted(event) && event.new == "CLOSE");
        let event = ended.first()?.clone();
        let line: Value = serde_json::from_str(&event.line).expect("JSON");
        let opened = log.so_far(|event| wanted(event) && event.old == "CLOSE");
        if let ([first], Some(life)) = (&opened[..], line["end"]["life_ns"].as_u64()) {
            /// Two clocks are read one after the other.
            const SLACK_NS: u64 = 5_000_000;
            let seen = event.ts_ns - first.ts_ns;
            assert!(life.abs_diff(seen) < SLACK_NS, "{seen} ns: {}", event.line);
        }
        Some((event, line["end"].clone()))
    })
}

#[track_caller]
fn assert_why(end: &(Event, Value), closed_by: Option<&str>, why: Option<&str>) {
    let (event, end) = end;
    assert_eq!(end["closed_by"].as_str(), closed_by, "{}", event.line);
    assert_eq!(end["why"].as_str(), why, "{}", event.line);
}

/// Payload sent and received.
#[track_caller]
fn assert_bytes(end: &(Event, Value), sent: u64, received: u64) {
    let (event, end) = end;
    assert_eq!(end["bytes_sent"].as_u64(), Some(sent), "{}", event.line);
    assert_eq!(
        end["bytes_received"].as_u64(),
        Some(received),
        "{}",
        event.line
    );
}

#[test]
fn fins_both_ways() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        within(|net| {
            let mut log = Log::start(net);
            let (server, client) = (net.actor_named("server"), net.actor_named("client"));
            let (listener, address) = server.listen(address);
            let (called, local) = client.connect(address);
            let accepted = server.accept(listener);
            assert_eq!(client.write(called, 5000), 5000);
            server.read(accepted, 5000);
            assert_eq!(server.write(accepted, 70), 70);
            client.read(called, 70);
            client.close(called);
            let closing = |event: &Event| event.remote == local && event.new == "CLOSE_WAIT";
            wait::until("the FIN", || {
                (!log.so_far(closing).is_empty()).then_some(())
            });
            server.close(accepted);
            let called = end(&mut log, "the called", |event| event.remote == local);
            assert_why(&called, Some("remote"), Some("fin"));
            assert_bytes(&called, 70, 5000);
            assert_eq!(called.1["retransmits"], 0, "{}", called.0.line);
            server.close(listener);
            let listener = end(&mut log, "the listener", |event| {
                event.local == address && event.remote.port() == 0
            });
            assert_why(&listener, Some("local"), Some("closed"));
        });
    }
}

/// The numbers of the full socket are those of the TIME_WAIT that follows it.
#[test]
fn time_wait() {
    within(|net| {
        let tun = net.tun();
        let mut log = Log::start(net);
        let client = net.actor_named("client");
        let own = SocketAddr::new(PEER_V4.into(), 7001);
        let (called, _) = client.call(own);
        let mut peer = Peer::called(tun, own);
        peer.answer();
        peer.write(b"twelve bytes");
        client.read(called, 12);
        client.shut_down(called);
        peer.see_fin();
        peer.finish();
        // RFC 1337 is off by default: a RST ends TIME_WAIT at once.
        peer.reset();
        let caller = end(&mut log, "the caller", |event| event.remote == own);
        assert_eq!(caller.0.old, "TIME_WAIT", "{}", caller.0.line);
        assert_why(&caller, Some("local"), Some("fin"));
        assert_bytes(&caller, 0, 12);
    });
}

#[test]
fn a_reset_of_each_side() {
    within(|net| {
        let mut log = Log::start(net);
        let (server, client) = (net.actor_named("server"), net.actor_named("client"));
        let (listener, address) = server.listen("127.0.0.1:0");
        let (called, local) = client.connect(address);
        server.accept(listener);
        client.write(called, 300);
        client.abort(called);
        let caller = end(&mut log, "the caller", |event| event.local == local);
        assert_why(&caller, Some("local"), Some("rst-sent"));
        assert_bytes(&caller, 300, 0);
        let called = end(&mut log, "the called", |event| event.remote == local);
        assert_why(&called, Some("remote"), Some("rst-received"));
        assert_bytes(&called, 0, 300);
        assert_eq!(called.1["errno"], libc::ECONNRESET, "{}", called.0.line);
    });
}

/// Unread data make close() a reset.
#[test]
fn a_close_with_unread_data() {
    within(|net| {
        let mut log = Log::start(net);
        let (server, client) = (net.actor_named("server"), net.actor_named("client"));
        let (listener, address) = server.listen("127.0.0.1:0");
        let (called, local) = client.connect(address);
        let accepted = server.accept(listener);
        client.write(called, 10);
        server.close(accepted);
        let called = end(&mut log, "the called", |event| event.remote == local);
        assert_why(&called, Some("local"), Some("rst-sent"));
        let caller = end(&mut log, "the caller", |event| event.local == local);
        assert_why(&caller, Some("remote"), Some("rst-received"));
    });
}

#[test]
fn a_listener_that_goes_before_it_accepts() {
    within(|net| {
        let mut log = Log::start(net);
        let (server, client) = (net.actor_named("server"), net.actor_named("client"));
        let (listener, address) = server.listen("127.0.0.1:0");
        let (_, local) = client.connect(address);
        server.close(listener);
        let called = end(&mut log, "the called", |event| event.remote == local);
        assert_why(&called, Some("local"), Some("rst-sent"));
        let caller = end(&mut log, "the caller", |event| event.local == local);
        assert_why(&caller, Some("remote"), Some("rst-received"));
    });
}

#[test]
fn calls_that_come_to_nothing() {
    within(|net| {
        net.tun();
        net.sysctl("ipv4/tcp_syn_retries", "1");
        let mut log = Log::start(net);
        let (server, client) = (net.actor(), net.actor());
        let (listener, closed) = server.listen("127.0.0.1:0");
        server.close(listener);
        let refusal = client.try_tell(&format_args!("connect {closed}"));
        assert!(refusal.is_err(), "a closed port accepts calls");
        let refused = end(&mut log, "the refused", |event| event.remote == closed);
        assert_why(&refused, Some("remote"), Some("refused"));

        let silent = SocketAddr::new(PEER_V4.into(), 7003);
        let (given_up, local) = client.call(silent);
        client.close(given_up);
        let given_up = end(&mut log, "the given up", |event| event.local == local);
        assert_why(&given_up, Some("local"), Some("closed"));

        let (_, local) = client.call(silent);
        let unanswered = end(&mut log, "the unanswered", |event| event.local == local);
        assert_why(&unanswered, None, Some("timeout"));
        let again = unanswered.1["retransmits"].as_u64();
        assert!(
            again.is_some_and(|again| again >= 1),
            "{}",
            unanswered.0.line
        );
    });
}

/// A request socket is gone before anybody can say what came.
#[test]
fn a_request_that_is_dropped() {
    within(|net| {
        net.tun();
        let mut log = Log::start(net);
        let server = net.actor_named("server");
        let (_, address) = server.listen("0.0.0.0:0");
        let own = SocketAddr::new(PEER_V4.into(), 7000);
        let kernel = SocketAddr::new(KERNEL_V4.into(), address.port());
        Peer::calls(net.tun(), own, kernel).reset();
        let request = end(&mut log, "the request", |event| event.remote == own);
        assert_why(&request, None, None);
        assert_eq!(request.1["bytes_sent"], Value::Null, "{}", request.0.line);
    });
}

/// The kernel gives the port of a TIME_WAIT that is a second old to another call over loopback
/// (tcp_tw_reuse): the one connection ends before the other is told to be there.
#[test]
fn a_call_takes_the_endpoints_of_a_time_wait() {
    within(|net| {
        let mut log = Log::start(net);
        let (server, client) = (net.actor(), net.actor());
        let (listener, address) = server.listen("127.0.0.1:0");
        net.sysctl("ipv4/ip_local_port_range", "40000 40000");
        let (called, local) = client.connect(address);
        let accepted = server.accept(listener);
        client.close(called);
        server.close(accepted);
        let call = format!("connect {address}");
        wait::until("the port to be given again", || client.try_tell(&call).ok());
        // The log is asked with listeners that need ports too.
        net.sysctl("ipv4/ip_local_port_range", "40001 50000");
        let ours = move |event: &Event| event.local == local && event.remote == address;
        let told = wait::until("the second connection", || {
            let told = log.so_far(ours);
            let opened = told.iter().filter(|event| event.new == "ESTABLISHED");
            (opened.count() == 2).then_some(told)
        });
        let changes: Vec<_> = told
            .iter()
            .map(|event| (&*event.old, &*event.new))
            .collect();
        let expected = [("TIME_WAIT", "CLOSE"), ("SYN_SENT", "ESTABLISHED")];
        assert!(changes.ends_with(&expected), "{changes:?}");
        assert!(told.iter().all(|event| !event.inferred), "{told:?}");
    });
}
