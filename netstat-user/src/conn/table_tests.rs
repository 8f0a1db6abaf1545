//! Traces and properties of the table.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
};

use expect_test::{Expect, expect};
use netstat_common::event::{
    FLAG_EXPIRED, FLAG_PROCESS, FLAG_SECOND_COPY, KIND_DESTROY, KIND_REQ_CANCEL, KIND_REQ_START,
    KIND_STATE, KIND_TW_CANCEL, KIND_TW_START, SockEvent,
};
use netstat_common::row::{ROW_FULL, ROW_TIMEWAIT, SockRow};
use proptest::prelude::*;
use zerocopy::{FromBytes as _, FromZeros as _};

use super::{
    model,
    seed::Correction,
    table::{ConnTable, LIMBO_NS, tuple},
    types::{Change, Conn, Endpoint, Ktime, Provenance, SockId, TcpState},
};

impl ConnTable {
    /// The indexes hold nothing but what is in the entries, and count it right.
    pub(super) fn check_invariants(&self) {
        for (key, id) in &self.tuples {
            assert_eq!(tuple(&self.entries[id].conn), *key);
            assert!(!self.entries[id].superseded);
        }
        for (&(netns, port), ids) in &self.listeners {
            assert!(!ids.is_empty());
            for id in ids {
                let conn = &self.entries[id].conn;
                assert_eq!((conn.netns, conn.local.port), (netns, port));
                assert_eq!(conn.state, TcpState::Listen);
            }
        }
        for (at, id) in &self.limbo {
            assert_eq!(self.entries[id].cancelled, Some(*at));
        }
        let waiting = self.entries.values().filter(|e| e.cancelled.is_some());
        assert_eq!(waiting.count(), self.limbo.len());
        self.entries.check_invariants();
        let nameless = self.entries.values().filter(|entry| entry.unannounced);
        assert_eq!(nameless.count(), self.nameless.len());
        for id in self.doubts.iter().chain(&self.half_closed) {
            assert!(self.entries.contains_key(id));
        }
        let mut owned: HashMap<u32, u32> = HashMap::new();
        for owner in self.entries.values().filter_map(|entry| entry.conn.owner) {
            *owned.entry(owner.pid).or_default() += 1;
        }
        assert_eq!(HashMap::from_iter(self.owned.clone()), owned);
    }

    /// Rows whose opening was told and whose end was not.
    pub(super) fn told(&self) -> usize {
        let open = self.entries.values().filter(|entry| {
            !entry.superseded && !entry.unannounced && entry.conn.state != TcpState::Close
        });
        open.count()
    }
}

pub(super) fn endpoint(text: &str) -> Endpoint {
    let (addr, port) = text.rsplit_once(':').expect("addr:port");
    let addr: std::net::Ipv4Addr = addr.parse().expect("an address");
    Endpoint {
        addr: addr.to_ipv6_mapped().octets(),
        port: port.parse().expect("a port"),
    }
}

pub(super) fn state(name: &str) -> u8 {
    let at = TcpState::ALL.iter().position(|state| state.name() == name);
    at.expect("a state") as u8 + 1
}

/// `socket KIND [detail] local > remote [comm/pid] [flags]`; line n happens at n microseconds.
pub(super) fn event(line: &str, at: u64) -> SockEvent {
    let mut words = line.split_whitespace();
    let mut event = SockEvent::new_zeroed();
    event.ktime_ns = at * 1000;
    event.netns = 1;
    event.family = 2;
    let name = words.next().expect("a socket");
    event.skaddr = u64::from(name.as_bytes()[0]);
    event.kind = match words.next().expect("a kind") {
        "STATE" => {
            let (old, new) = words.next().and_then(|w| w.split_once('>')).expect("a>b");
            (event.oldstate, event.newstate) = (state(old), state(new));
            KIND_STATE
        }
        kind @ ("TW_START" | "TW_CANCEL") => {
            event.newstate = state(words.next().expect("a state"));
            if kind == "TW_START" {
                KIND_TW_START
            } else {
                KIND_TW_CANCEL
            }
        }
        "REQ_START" => KIND_REQ_START,
        "REQ_CANCEL" => KIND_REQ_CANCEL,
        "DESTROY" => KIND_DESTROY,
        other => panic!("{other}"),
    };
    let ends: Vec<&str> = words.clone().filter(|word| word.contains(':')).collect();
    if let [local, remote] = ends[..] {
        let (local, remote) = (endpoint(local), endpoint(remote));
        (event.saddr, event.sport) = (local.addr, local.port);
        (event.daddr, event.dport) = (remote.addr, remote.port);
    }
    for word in words {
        match word {
            "expired" => event.flags |= FLAG_EXPIRED,
            "again" => event.flags |= FLAG_SECOND_COPY,
            _ => {
                if let Some((comm, pid)) = word.split_once('/') {
                    event.comm[..comm.len()].copy_from_slice(comm.as_bytes());
                    event.tgid = pid.parse().expect("a pid");
                    event.flags |= FLAG_PROCESS;
                } else if let Some(listener) = word.strip_prefix("of=") {
                    event.listener = u64::from(listener.as_bytes()[0]);
                }
            }
        }
    }
    event
}

pub(super) fn show(out: &mut String, change: &Change) {
    let from = change.from.map_or("?", TcpState::name);
    let mark = if change.inferred { "inferred " } else { "" };
    let end = |end: &Endpoint| format!("{}:{}", end.ip(), end.port);
    let conn = &change.conn;
    let (local, remote) = (end(&conn.local), end(&conn.remote));
    write!(out, "{mark}{from}>{} {local} > {remote}", conn.state).expect("a String");
    if let Some(owner) = conn.owner {
        write!(out, " {} {}", owner.pid, owner.provenance.name()).expect("a String");
    }
    out.push('\n');
}

fn run(script: &str) -> (ConnTable, Vec<Change>) {
    let mut table = ConnTable::default();
    let mut changes = Vec::new();
    for (at, line) in script.lines().enumerate() {
        table.apply(&event(line, at as u64), &mut changes);
        table.check_invariants();
    }
    table.expire(Ktime(LIMBO_NS * 10), &mut changes);
    table.check_invariants();
    (table, changes)
}

/// Expects the changes that a script makes. Each state event may come from both copies of the
/// hook: doubled, it changes nothing.
fn check(script: &str, expected: Expect) {
    let (table, changes) = run(script);
    let mut out = String::new();
    for change in &changes {
        show(&mut out, change);
    }
    expected.assert_eq(&out);
    let doubled: String = script
        .lines()
        .map(|line| {
            let again = if line.contains("STATE") {
                format!("{line} again")
            } else {
                "- DESTROY".to_owned()
            };
            format!("{line}\n{again}\n")
        })
        .collect();
    let (twice, again) = run(&doubled);
    let mut seen = String::new();
    for change in &again {
        show(&mut seen, change);
    }
    assert_eq!(seen, out, "with every state event doubled");
    assert_eq!(twice.len(), table.len());
}

#[test]
fn an_active_open_is_closed_into_time_wait() {
    check(
        "a STATE CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443 curl/42
a STATE SYN_SENT>ESTABLISHED 10.0.0.1:50000 > 10.0.0.2:443
a STATE ESTABLISHED>FIN_WAIT1 10.0.0.1:50000 > 10.0.0.2:443 curl/42
a STATE FIN_WAIT1>FIN_WAIT2 10.0.0.1:50000 > 10.0.0.2:443
t TW_START TIME_WAIT 10.0.0.1:50000 > 10.0.0.2:443
a STATE FIN_WAIT2>CLOSE 10.0.0.1:0 > 10.0.0.2:443
a DESTROY
t TW_CANCEL TIME_WAIT 10.0.0.1:50000 > 10.0.0.2:443 expired",
        expect![[r#"
            CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443 42 seen
            SYN_SENT>ESTABLISHED 10.0.0.1:50000 > 10.0.0.2:443 42 seen
            ESTABLISHED>FIN_WAIT1 10.0.0.1:50000 > 10.0.0.2:443 42 seen
            FIN_WAIT1>FIN_WAIT2 10.0.0.1:50000 > 10.0.0.2:443 42 seen
            FIN_WAIT2>TIME_WAIT 10.0.0.1:50000 > 10.0.0.2:443 42 seen
            TIME_WAIT>CLOSE 10.0.0.1:50000 > 10.0.0.2:443 42 seen
        "#]],
    );
}

#[test]
fn a_passive_open_goes_through_a_request_socket() {
    check(
        "l STATE CLOSE>LISTEN 10.0.0.1:80 > 0.0.0.0:0 nginx/7
r REQ_START 10.0.0.1:80 > 10.0.0.9:999 of=l
c STATE LISTEN>SYN_RECV 10.0.0.1:80 > 10.0.0.9:999
r REQ_CANCEL 10.0.0.1:80 > 10.0.0.9:999
c STATE SYN_RECV>ESTABLISHED 10.0.0.1:80 > 10.0.0.9:999
c STATE ESTABLISHED>CLOSE_WAIT 10.0.0.1:80 > 10.0.0.9:999
c STATE CLOSE_WAIT>LAST_ACK 10.0.0.1:80 > 10.0.0.9:999 nginx/8
c STATE LAST_ACK>CLOSE 10.0.0.1:0 > 10.0.0.9:999
c DESTROY",
        expect![[r#"
            CLOSE>LISTEN 10.0.0.1:80 > 0.0.0.0:0 7 seen
            CLOSE>SYN_RECV 10.0.0.1:80 > 10.0.0.9:999 7 listener
            SYN_RECV>ESTABLISHED 10.0.0.1:80 > 10.0.0.9:999 7 listener
            ESTABLISHED>CLOSE_WAIT 10.0.0.1:80 > 10.0.0.9:999 7 listener
            CLOSE_WAIT>LAST_ACK 10.0.0.1:80 > 10.0.0.9:999 8 seen
            LAST_ACK>CLOSE 10.0.0.1:80 > 10.0.0.9:999 8 seen
        "#]],
    );
}

#[test]
fn before_6_18_a_child_learns_its_peer_late() {
    check(
        "l STATE CLOSE>LISTEN 10.0.0.1:80 > 0.0.0.0:0 nginx/7
r REQ_START 10.0.0.1:80 > 10.0.0.9:999 of=l
c STATE LISTEN>SYN_RECV 10.0.0.1:80 > 0.0.0.0:0
r REQ_CANCEL 10.0.0.1:80 > 10.0.0.9:999
c STATE SYN_RECV>ESTABLISHED 10.0.0.1:80 > 10.0.0.9:999
c STATE ESTABLISHED>CLOSE 10.0.0.1:0 > 10.0.0.9:999
c DESTROY",
        expect![[r#"
            CLOSE>LISTEN 10.0.0.1:80 > 0.0.0.0:0 7 seen
            CLOSE>SYN_RECV 10.0.0.1:80 > 10.0.0.9:999 7 listener
            SYN_RECV>ESTABLISHED 10.0.0.1:80 > 10.0.0.9:999 7 listener
            ESTABLISHED>CLOSE 10.0.0.1:80 > 10.0.0.9:999 7 listener
        "#]],
    );
}

/// A virtual machine that is not run for a while between the two.
#[test]
fn a_request_waits_for_the_peer_of_its_child() {
    let mut table = ConnTable::default();
    let take = |table: &mut ConnTable, line, at| {
        let mut changes = Vec::new();
        table.apply(&event(line, at), &mut changes);
        table.expire(Ktime(at * 1000 + 2 * LIMBO_NS), &mut changes);
        table.check_invariants();
        changes
    };
    let born = take(&mut table, "r REQ_START 10.0.0.1:80 > 10.0.0.9:999", 1);
    assert_eq!(born.len(), 1);
    let child = "c STATE LISTEN>SYN_RECV 10.0.0.1:80 > 0.0.0.0:0";
    assert_eq!(take(&mut table, child, 2), []);
    let cancel = "r REQ_CANCEL 10.0.0.1:80 > 10.0.0.9:999";
    assert_eq!(take(&mut table, cancel, 3), [], "not told dead");
    let established = "c STATE SYN_RECV>ESTABLISHED 10.0.0.1:80 > 10.0.0.9:999";
    let established = take(&mut table, established, 30_000);
    assert_eq!(established.len(), 1);
    assert_eq!(established[0].from, Some(TcpState::SynRecv));
    // Nobody is there to wait for now.
    take(&mut table, "r REQ_START 10.0.0.1:80 > 10.0.0.9:998", 40_000);
    let cancel = "r REQ_CANCEL 10.0.0.1:80 > 10.0.0.9:998";
    let dead = take(&mut table, cancel, 40_001);
    assert_eq!(dead[0].conn.state, TcpState::Close);
}

#[test]
fn a_child_of_a_syn_cookie_has_no_request() {
    check(
        "l STATE CLOSE>LISTEN 0.0.0.0:80 > 0.0.0.0:0 nginx/7
c STATE LISTEN>SYN_RECV 10.0.0.1:80 > 10.0.0.9:999
c STATE SYN_RECV>ESTABLISHED 10.0.0.1:80 > 10.0.0.9:999
d STATE LISTEN>SYN_RECV 10.0.0.1:80 > 0.0.0.0:0
d STATE SYN_RECV>ESTABLISHED 10.0.0.1:80 > 10.0.0.9:998",
        expect![[r#"
            CLOSE>LISTEN 0.0.0.0:80 > 0.0.0.0:0 7 seen
            CLOSE>SYN_RECV 10.0.0.1:80 > 10.0.0.9:999 7 listener
            SYN_RECV>ESTABLISHED 10.0.0.1:80 > 10.0.0.9:999 7 listener
            CLOSE>SYN_RECV 10.0.0.1:80 > 10.0.0.9:998 7 listener
            SYN_RECV>ESTABLISHED 10.0.0.1:80 > 10.0.0.9:998 7 listener
        "#]],
    );
}

#[test]
fn a_socket_that_connects_again_shows_its_new_peer() {
    check(
        "a STATE CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443 curl/42
a STATE SYN_SENT>ESTABLISHED 10.0.0.1:50000 > 10.0.0.2:443
a STATE ESTABLISHED>CLOSE 10.0.0.1:0 > 10.0.0.2:443
a STATE CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.3:80 curl/42
a STATE SYN_SENT>CLOSE 10.0.0.1:0 > 10.0.0.3:80",
        expect![[r#"
            CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443 42 seen
            SYN_SENT>ESTABLISHED 10.0.0.1:50000 > 10.0.0.2:443 42 seen
            ESTABLISHED>CLOSE 10.0.0.1:50000 > 10.0.0.2:443 42 seen
            CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.3:80 42 seen
            SYN_SENT>CLOSE 10.0.0.1:0 > 10.0.0.3:80 42 seen
        "#]],
    );
}

#[test]
fn a_syn_ack_sent_again_is_no_change_and_a_dropped_request_is_one() {
    check(
        "r REQ_START 10.0.0.1:80 > 10.0.0.9:999
r REQ_CANCEL 10.0.0.1:80 > 10.0.0.9:999 expired
r REQ_START 10.0.0.1:80 > 10.0.0.9:999
r REQ_CANCEL 10.0.0.1:80 > 10.0.0.9:999",
        expect![[r#"
            CLOSE>SYN_RECV 10.0.0.1:80 > 10.0.0.9:999
            SYN_RECV>CLOSE 10.0.0.1:80 > 10.0.0.9:999
        "#]],
    );
}

#[test]
fn an_orphan_waits_for_the_fin_as_a_minisock() {
    check(
        "a STATE CLOSE>SYN_SENT 10.0.0.1:5 > 10.0.0.2:443 curl/42
a STATE SYN_SENT>ESTABLISHED 10.0.0.1:5 > 10.0.0.2:443
a STATE ESTABLISHED>FIN_WAIT1 10.0.0.1:5 > 10.0.0.2:443 curl/42
a STATE FIN_WAIT1>FIN_WAIT2 10.0.0.1:5 > 10.0.0.2:443
t TW_START FIN_WAIT2 10.0.0.1:5 > 10.0.0.2:443
a STATE FIN_WAIT2>CLOSE 10.0.0.1:0 > 10.0.0.2:443
a DESTROY
t TW_CANCEL TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443
t TW_START TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443
t TW_CANCEL TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443",
        expect![[r#"
            CLOSE>SYN_SENT 10.0.0.1:5 > 10.0.0.2:443 42 seen
            SYN_SENT>ESTABLISHED 10.0.0.1:5 > 10.0.0.2:443 42 seen
            ESTABLISHED>FIN_WAIT1 10.0.0.1:5 > 10.0.0.2:443 42 seen
            FIN_WAIT1>FIN_WAIT2 10.0.0.1:5 > 10.0.0.2:443 42 seen
            FIN_WAIT2>TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443 42 seen
            TIME_WAIT>CLOSE 10.0.0.1:5 > 10.0.0.2:443 42 seen
        "#]],
    );
}

#[test]
fn a_syn_reuses_a_timewait_minisock() {
    check(
        "t TW_START TIME_WAIT 10.0.0.1:80 > 10.0.0.9:999
t TW_CANCEL TIME_WAIT 10.0.0.1:80 > 10.0.0.9:999
r REQ_START 10.0.0.1:80 > 10.0.0.9:999",
        expect![[r#"
            ?>TIME_WAIT 10.0.0.1:80 > 10.0.0.9:999
            TIME_WAIT>CLOSE 10.0.0.1:80 > 10.0.0.9:999
            CLOSE>SYN_RECV 10.0.0.1:80 > 10.0.0.9:999
        "#]],
    );
}

#[test]
fn a_call_reuses_the_endpoints_of_a_timewait_minisock() {
    check(
        "t TW_START TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443
a STATE CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443 curl/42
t TW_CANCEL TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443
a STATE SYN_SENT>ESTABLISHED 10.0.0.1:5 > 10.0.0.2:443",
        expect![[r#"
            ?>TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443
            CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443 42 seen
            TIME_WAIT>CLOSE 10.0.0.1:5 > 10.0.0.2:443
            SYN_SENT>ESTABLISHED 10.0.0.1:5 > 10.0.0.2:443 42 seen
        "#]],
    );
}

#[test]
fn a_timewait_minisock_follows_another_with_its_endpoints_at_its_address() {
    check(
        "t TW_START TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443
a STATE CLOSE>SYN_SENT 10.0.0.1:5 > 10.0.0.2:443 curl/42
t TW_CANCEL TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443
a STATE SYN_SENT>ESTABLISHED 10.0.0.1:5 > 10.0.0.2:443
a STATE ESTABLISHED>FIN_WAIT1 10.0.0.1:5 > 10.0.0.2:443
a STATE FIN_WAIT1>FIN_WAIT2 10.0.0.1:5 > 10.0.0.2:443
t TW_START TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443
a STATE FIN_WAIT2>CLOSE 10.0.0.1:0 > 10.0.0.2:443
a DESTROY
t TW_CANCEL TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443",
        expect![[r#"
            ?>TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443
            CLOSE>SYN_SENT 10.0.0.1:5 > 10.0.0.2:443 42 seen
            SYN_SENT>ESTABLISHED 10.0.0.1:5 > 10.0.0.2:443 42 seen
            ESTABLISHED>FIN_WAIT1 10.0.0.1:5 > 10.0.0.2:443 42 seen
            FIN_WAIT1>FIN_WAIT2 10.0.0.1:5 > 10.0.0.2:443 42 seen
            TIME_WAIT>CLOSE 10.0.0.1:5 > 10.0.0.2:443
            FIN_WAIT2>TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443 42 seen
            TIME_WAIT>CLOSE 10.0.0.1:5 > 10.0.0.2:443 42 seen
        "#]],
    );
}

#[test]
fn a_timer_started_again_during_a_call_is_no_end() {
    check(
        "t TW_START TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443
a STATE CLOSE>SYN_SENT 10.0.0.1:5 > 10.0.0.2:443 curl/42
t TW_CANCEL TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443
t TW_START TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443
a STATE SYN_SENT>CLOSE 10.0.0.1:5 > 10.0.0.2:443 curl/42
t TW_CANCEL TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443",
        expect![[r#"
            ?>TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443
            CLOSE>SYN_SENT 10.0.0.1:5 > 10.0.0.2:443 42 seen
            SYN_SENT>CLOSE 10.0.0.1:5 > 10.0.0.2:443 42 seen
            TIME_WAIT>CLOSE 10.0.0.1:5 > 10.0.0.2:443
        "#]],
    );
}

#[test]
fn simultaneous_open() {
    check(
        "a STATE CLOSE>SYN_SENT 10.0.0.1:5 > 10.0.0.2:6 nc/42
a STATE SYN_SENT>SYN_RECV 10.0.0.1:5 > 10.0.0.2:6
a STATE SYN_RECV>ESTABLISHED 10.0.0.1:5 > 10.0.0.2:6",
        expect![[r#"
            CLOSE>SYN_SENT 10.0.0.1:5 > 10.0.0.2:6 42 seen
            SYN_SENT>SYN_RECV 10.0.0.1:5 > 10.0.0.2:6 42 seen
            SYN_RECV>ESTABLISHED 10.0.0.1:5 > 10.0.0.2:6 42 seen
        "#]],
    );
}

#[test]
fn lost_ends_are_told_when_the_address_is_used_again() {
    check(
        "a STATE CLOSE>SYN_SENT 10.0.0.1:5 > 10.0.0.2:6 nc/42
a STATE SYN_SENT>ESTABLISHED 10.0.0.1:5 > 10.0.0.2:6
a STATE CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.3:7 nc/43
a STATE LISTEN>SYN_RECV 10.0.0.1:80 > 10.0.0.9:999
a TW_START TIME_WAIT 10.0.0.1:81 > 10.0.0.9:999",
        expect![[r#"
            CLOSE>SYN_SENT 10.0.0.1:5 > 10.0.0.2:6 42 seen
            SYN_SENT>ESTABLISHED 10.0.0.1:5 > 10.0.0.2:6 42 seen
            inferred ESTABLISHED>CLOSE 10.0.0.1:5 > 10.0.0.2:6 42 seen
            CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.3:7 43 seen
            inferred SYN_SENT>CLOSE 10.0.0.1:0 > 10.0.0.3:7 43 seen
            CLOSE>SYN_RECV 10.0.0.1:80 > 10.0.0.9:999
            inferred SYN_RECV>CLOSE 10.0.0.1:80 > 10.0.0.9:999
            ?>TIME_WAIT 10.0.0.1:81 > 10.0.0.9:999
        "#]],
    );
}

#[test]
fn of_two_children_of_one_request_one_carries_on() {
    check(
        "r REQ_START 10.0.0.1:80 > 10.0.0.9:999
c STATE LISTEN>SYN_RECV 10.0.0.1:80 > 10.0.0.9:999
d STATE LISTEN>SYN_RECV 10.0.0.1:80 > 10.0.0.9:999
r REQ_CANCEL 10.0.0.1:80 > 10.0.0.9:999
d STATE SYN_RECV>CLOSE 10.0.0.1:80 > 10.0.0.9:999
t TW_START TIME_WAIT 10.0.0.1:80 > 10.0.0.9:999
c STATE SYN_RECV>CLOSE 10.0.0.1:0 > 10.0.0.9:999",
        expect![[r#"
            CLOSE>SYN_RECV 10.0.0.1:80 > 10.0.0.9:999
            CLOSE>SYN_RECV 10.0.0.1:80 > 10.0.0.9:999
            SYN_RECV>CLOSE 10.0.0.1:80 > 10.0.0.9:999
            SYN_RECV>TIME_WAIT 10.0.0.1:80 > 10.0.0.9:999
        "#]],
    );
}

/// The row that a refresh would read of the socket of an event.
fn row(event: &SockEvent, kind: u8) -> SockRow {
    SockRow {
        kind,
        state: event.newstate,
        netns: event.netns,
        family: event.family,
        saddr: event.saddr,
        daddr: event.daddr,
        sport: event.sport,
        dport: event.dport,
        ..SockRow::new_zeroed()
    }
}

#[test]
fn healing_leaves_a_minisock_in_limbo_to_its_limbo_and_finds_it_again() {
    let (mut table, mut changes) = (ConnTable::default(), Vec::new());
    let start = event("t TW_START TIME_WAIT 10.0.0.1:80 > 10.0.0.9:999", 0);
    table.apply(&start, &mut changes);
    let cancel = event("t TW_CANCEL TIME_WAIT 10.0.0.1:80 > 10.0.0.9:999", 1);
    table.apply(&cancel, &mut changes);
    let found = row(&start, ROW_TIMEWAIT);
    let verdict = table.correct(start.skaddr, &found, Ktime(9), &mut changes);
    assert_eq!(verdict, Correction::Undecided);
    table.check_invariants();
    table.expire(Ktime(u64::MAX), &mut changes);
    assert_eq!((changes.len(), table.listed().count()), (2, 0));
    table.seed(start.skaddr);
    table.seed_row(start.skaddr, &found, Ktime(9), &mut changes);
    assert_eq!(table.listed().count(), 1);
}

#[test]
fn healing_ends_a_connection_whose_address_another_has_by_now() {
    let (mut table, mut changes) = run("a STATE SYN_SENT>ESTABLISHED 10.0.0.1:5 > 10.0.0.2:6");
    let other = event("a STATE SYN_SENT>ESTABLISHED 10.0.0.1:7 > 10.0.0.2:8", 9);
    let verdict = table.correct(
        other.skaddr,
        &row(&other, ROW_FULL),
        Ktime(9000),
        &mut changes,
    );
    assert_eq!(verdict, Correction::Replaced);
    table.check_invariants();
    let told: Vec<_> = changes
        .iter()
        .map(|c| (c.conn.local.port, c.conn.state))
        .collect();
    assert_eq!(told, [(5, TcpState::Established), (5, TcpState::Close)]);
    let listed: Vec<_> = table.listed().map(|conn| conn.local.port).collect();
    assert_eq!(listed, [7]);
    assert_eq!(table.held(), [other.skaddr]);
}

#[test]
fn a_seed_is_completed_only_if_no_event_came_first() {
    let mut table = ConnTable::default();
    let seen = event("a STATE ESTABLISHED>CLOSE_WAIT 10.0.0.1:5 > 10.0.0.2:6", 1);
    table.seed(seen.skaddr);
    assert_eq!(table.bare(), [seen.skaddr]);
    table.apply(&seen, &mut Vec::new());
    assert!(table.bare().is_empty());
    let mut old = row(&seen, ROW_FULL);
    old.state = 1;
    table.seed_row(seen.skaddr, &old, Ktime(9), &mut Vec::new());
    let known = table
        .get(SockId::Kernel(seen.skaddr))
        .map(|conn| conn.state);
    assert_eq!(known, Some(TcpState::CloseWait));
}

#[test]
fn an_inherited_owner_is_in_doubt_once_established_and_again_when_it_ends() {
    let (mut table, _) = run("l STATE CLOSE>LISTEN 10.0.0.1:80 > 0.0.0.0:0 nginx/7
c STATE LISTEN>SYN_RECV 10.0.0.1:80 > 10.0.0.9:999
c STATE SYN_RECV>ESTABLISHED 10.0.0.1:80 > 10.0.0.9:999");
    let child = SockId::Kernel(u64::from(b'c'));
    assert_eq!(table.take_doubts().into_iter().collect::<Vec<_>>(), [child]);
    table.set_owner(child, 8, Provenance::Resolved);
    table.check_invariants();
    table.owner_may_have_changed(8);
    assert_eq!(table.take_doubts().into_iter().collect::<Vec<_>>(), [child]);
    assert!(table.owns(7) && table.owns(8) && !table.owns(9));
}

fn sock_event() -> impl Strategy<Value = SockEvent> {
    let kinds = prop_oneof![8 => 1u32..=6, 1 => any::<u32>()];
    let states = || prop_oneof![8 => 1u8..=12, 1 => any::<u8>()];
    let ports = || 0u16..3;
    let (old, new) = (states(), states());
    (
        kinds,
        0u32..16,
        1u64..5,
        0u64..5,
        1u32..4,
        ports(),
        ports(),
        old,
        new,
    )
        .prop_map(
            |(kind, flags, skaddr, listener, tgid, sport, dport, oldstate, newstate)| SockEvent {
                kind,
                flags,
                skaddr,
                listener,
                netns: 1,
                tgid,
                family: 2,
                sport,
                dport,
                oldstate,
                newstate,
                ..SockEvent::new_zeroed()
            },
        )
}

fn log() -> impl Strategy<Value = Vec<SockEvent>> {
    let log = prop::collection::vec(sock_event(), 0..64);
    log.prop_map(|mut log| {
        for (at, event) in log.iter_mut().enumerate() {
            event.ktime_ns = at as u64;
        }
        log
    })
}

fn fold(log: &[SockEvent]) -> ConnTable {
    let mut table = ConnTable::default();
    for event in log {
        table.apply(event, &mut Vec::new());
        table.check_invariants();
    }
    table.expire(Ktime(u64::MAX), &mut Vec::new());
    table.check_invariants();
    table
}

fn rows(table: &ConnTable) -> BTreeMap<u64, (super::types::Kind, TcpState)> {
    let row = |conn: &Conn| match conn.id {
        SockId::Kernel(skaddr) => Some((skaddr, (conn.kind, conn.state))),
        // A request in limbo whose address another has.
        SockId::Proc(_) => None,
    };
    table.listed().filter_map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn the_fold_equals_the_model(log in log()) {
        prop_assert_eq!(rows(&fold(&log)), model::rows(&log));
    }

    #[test]
    fn without_one_socket_only_its_row_is_missing(log in log(), out in 1u64..5) {
        let mut expected = rows(&fold(&log));
        expected.remove(&out);
        let rest: Vec<_> = log.into_iter().filter(|event| event.skaddr != out).collect();
        prop_assert_eq!(rows(&fold(&rest)), expected);
    }

    #[test]
    fn a_state_event_repeated_changes_nothing(log in log()) {
        let mut table = ConnTable::default();
        for event in &log {
            table.apply(event, &mut Vec::new());
            if event.kind == KIND_STATE {
                let (before, told) = (rows(&table), table.told());
                let mut again = Vec::new();
                let event = SockEvent { flags: event.flags | FLAG_SECOND_COPY, ..*event };
                table.apply(&event, &mut again);
                table.check_invariants();
                prop_assert_eq!(again, vec![]);
                prop_assert_eq!((rows(&table), table.told()), (before, told));
            }
        }
    }

    #[test]
    fn a_seed_before_the_whole_history_makes_no_difference(log in log(), seeded in 1u64..5) {
        let mut table = ConnTable::default();
        let touched = log.iter().any(|e| e.skaddr == seeded && (1..=6).contains(&e.kind));
        if touched {
            table.seed(seeded);
        }
        for event in &log {
            table.apply(event, &mut Vec::new());
            table.check_invariants();
        }
        table.expire(Ktime(u64::MAX), &mut Vec::new());
        prop_assert_eq!(rows(&table), rows(&fold(&log)));
    }

    #[test]
    fn a_socket_keeps_its_place(log in log()) {
        let mut table = ConnTable::default();
        let mut before: Vec<SockId> = Vec::new();
        for event in &log {
            table.apply(event, &mut Vec::new());
            let after: Vec<SockId> = table.listed().map(|conn| conn.id).collect();
            let touched = SockId::Kernel(event.skaddr);
            let stay = |ids: &[SockId], others: &[SockId]| -> Vec<SockId> {
                let both = ids.iter().filter(|id| **id != touched && others.contains(id));
                both.copied().collect()
            };
            prop_assert_eq!(stay(&before, &after), stay(&after, &before));
            before = after;
        }
    }

    #[test]
    fn indexes_do_not_outlive_the_sockets(log in log()) {
        let mut table = fold(&log);
        for skaddr in table.held() {
            table.forget(SockId::Kernel(skaddr), Ktime(u64::MAX), &mut Vec::new());
            table.check_invariants();
        }
        prop_assert!(table.is_empty() && table.tuples.is_empty() && table.listeners.is_empty());
        prop_assert!(table.limbo.is_empty() && table.owned.is_empty() && table.doubts.is_empty());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<[[u8; 32]; 3]>(), 0..16)) {
        let events = bytes.iter().map(|b| SockEvent::read_from_bytes(b.as_flattened()));
        fold(&events.collect::<Result<Vec<_>, _>>().expect("96 bytes"));
    }
}
