//! Events that contradict the table.

use expect_test::{Expect, expect};
use netstat_common::row::{ROW_FULL, ROW_TIMEWAIT, SockRow};
use zerocopy::FromZeros as _;

use super::{
    gaps::{Expected, Gaps, Older},
    seed::Correction,
    table::{ConnTable, LIMBO_NS},
    table_tests::{event, show},
    types::{Ktime, SockId, TcpState},
};

/// A table that knows all older sockets and is sent every change.
pub(super) const STRICT: Expected = Expected {
    every_change: true,
    older: Older::All,
    half_open: true,
};

fn check_as(expected: Expected, script: &str, told: Expect) -> ConnTable {
    let mut table = ConnTable::default();
    table.expect(expected);
    let mut changes = Vec::new();
    for (at, line) in script.lines().enumerate() {
        table.apply(&event(line, at as u64), &mut changes);
        table.check_invariants();
    }
    table.expire(Ktime(LIMBO_NS * 10), &mut changes);
    let mut out = String::new();
    changes.iter().for_each(|change| show(&mut out, change));
    told.assert_eq(&out);
    let inferred = changes.iter().filter(|change| change.inferred).count() as u64;
    assert_eq!(
        (table.gaps().all, table.contradictions().all),
        (inferred, inferred)
    );
    for change in changes.iter().filter(|change| change.inferred) {
        assert_eq!((change.in_from_ns, change.conn.since), (None, None));
        assert_eq!(change.end.and_then(|end| end.life_ns), None);
    }
    table
}

fn check(script: &str, told: Expect) -> ConnTable {
    check_as(STRICT, script, told)
}

#[test]
fn a_change_that_was_skipped_is_inferred() {
    check(
        "a STATE CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443 curl/42
a STATE ESTABLISHED>FIN_WAIT1 10.0.0.1:50000 > 10.0.0.2:443 curl/42
t TW_START TIME_WAIT 10.0.0.1:50000 > 10.0.0.2:443
a STATE FIN_WAIT2>CLOSE 10.0.0.1:0 > 10.0.0.2:443
a DESTROY
t TW_CANCEL TIME_WAIT 10.0.0.1:50000 > 10.0.0.2:443 expired",
        expect![[r#"
            CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443 42 seen
            inferred SYN_SENT>ESTABLISHED 10.0.0.1:50000 > 10.0.0.2:443 42 seen
            ESTABLISHED>FIN_WAIT1 10.0.0.1:50000 > 10.0.0.2:443 42 seen
            inferred FIN_WAIT1>TIME_WAIT 10.0.0.1:50000 > 10.0.0.2:443 42 seen
            TIME_WAIT>CLOSE 10.0.0.1:50000 > 10.0.0.2:443 42 seen
        "#]],
    );
}

/// As /proc shows it after a loss: the FIN made no event, and nothing was missed.
#[test]
fn time_wait_after_a_silent_fin_is_no_gap() {
    let mut table = check(
        "t TW_START FIN_WAIT2 10.0.0.1:50000 > 10.0.0.2:443",
        expect![[r#"
            inferred ?>FIN_WAIT2 10.0.0.1:50000 > 10.0.0.2:443
        "#]],
    );
    let gaps = table.gaps().all;
    let waiting = table.half_closed();
    assert_eq!(waiting.len(), 1);
    let mut changes = Vec::new();
    let id = SockId::Kernel(waiting[0]);
    table.restate(id, TcpState::TimeWait, Ktime(LIMBO_NS * 20), &mut changes);
    table.check_invariants();
    let mut out = String::new();
    changes.iter().for_each(|change| show(&mut out, change));
    expect![[r#"
        FIN_WAIT2>TIME_WAIT 10.0.0.1:50000 > 10.0.0.2:443
    "#]]
    .assert_eq(&out);
    assert_eq!((table.gaps().all, table.half_closed()), (gaps, vec![]));
}

#[test]
fn an_address_that_is_used_again_ends_what_was_there() {
    check(
        "a STATE CLOSE>SYN_SENT 10.0.0.1:5 > 10.0.0.2:443 curl/42
a STATE SYN_SENT>ESTABLISHED 10.0.0.1:5 > 10.0.0.2:443
a STATE CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443 curl/43
a STATE CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443 curl/43 again
a STATE CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443 curl/44
a DESTROY
a STATE LISTEN>SYN_RECV 10.0.0.1:80 > 10.0.0.9:999
a STATE ESTABLISHED>CLOSE_WAIT 10.0.0.1:80 > 10.0.0.9:1000
a STATE LISTEN>CLOSE 10.0.0.1:81 > 0.0.0.0:0 nginx/7",
        expect![[r#"
            CLOSE>SYN_SENT 10.0.0.1:5 > 10.0.0.2:443 42 seen
            SYN_SENT>ESTABLISHED 10.0.0.1:5 > 10.0.0.2:443 42 seen
            inferred ESTABLISHED>CLOSE 10.0.0.1:5 > 10.0.0.2:443 42 seen
            CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443 43 seen
            inferred SYN_SENT>CLOSE 10.0.0.1:0 > 10.0.0.2:443 43 seen
            CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443 44 seen
            inferred SYN_SENT>CLOSE 10.0.0.1:0 > 10.0.0.2:443 44 seen
            CLOSE>SYN_RECV 10.0.0.1:80 > 10.0.0.9:999
            inferred SYN_RECV>CLOSE 10.0.0.1:80 > 10.0.0.9:999
            inferred ?>ESTABLISHED 10.0.0.1:80 > 10.0.0.9:1000
            ESTABLISHED>CLOSE_WAIT 10.0.0.1:80 > 10.0.0.9:1000
            inferred CLOSE_WAIT>CLOSE 10.0.0.1:80 > 10.0.0.9:1000
            inferred ?>LISTEN 10.0.0.1:81 > 0.0.0.0:0 7 seen
            LISTEN>CLOSE 10.0.0.1:81 > 0.0.0.0:0 7 seen
        "#]],
    );
}

#[test]
fn a_state_before_the_known_one_is_of_another_life() {
    check(
        "a STATE CLOSE>SYN_SENT 10.0.0.1:5 > 10.0.0.2:443 curl/42
a STATE SYN_SENT>ESTABLISHED 10.0.0.1:5 > 10.0.0.2:443
a STATE SYN_SENT>ESTABLISHED 10.0.0.1:5 > 10.0.0.2:443
a STATE ESTABLISHED>CLOSE 10.0.0.1:5 > 10.0.0.2:443
a STATE ESTABLISHED>CLOSE 10.0.0.1:5 > 10.0.0.2:443",
        expect![[r#"
            CLOSE>SYN_SENT 10.0.0.1:5 > 10.0.0.2:443 42 seen
            SYN_SENT>ESTABLISHED 10.0.0.1:5 > 10.0.0.2:443 42 seen
            inferred ESTABLISHED>CLOSE 10.0.0.1:5 > 10.0.0.2:443 42 seen
            inferred ?>SYN_SENT 10.0.0.1:5 > 10.0.0.2:443
            SYN_SENT>ESTABLISHED 10.0.0.1:5 > 10.0.0.2:443
            ESTABLISHED>CLOSE 10.0.0.1:5 > 10.0.0.2:443
            inferred ?>ESTABLISHED 10.0.0.1:5 > 10.0.0.2:443
            ESTABLISHED>CLOSE 10.0.0.1:5 > 10.0.0.2:443
        "#]],
    );
}

#[test]
fn a_child_whose_birth_was_lost_carries_its_request_on() {
    check(
        "r REQ_START 10.0.0.1:80 > 10.0.0.9:999
c STATE SYN_RECV>ESTABLISHED 10.0.0.1:80 > 10.0.0.9:999
r REQ_CANCEL 10.0.0.1:80 > 10.0.0.9:999
s REQ_START 10.0.0.1:80 > 10.0.0.9:998
s REQ_CANCEL 10.0.0.1:80 > 10.0.0.9:998
d STATE CLOSE_WAIT>LAST_ACK 10.0.0.1:80 > 10.0.0.9:998 nginx/7
u REQ_START 10.0.0.1:80 > 10.0.0.9:997
f STATE SYN_RECV>CLOSE 10.0.0.1:80 > 10.0.0.9:997",
        expect![[r#"
            CLOSE>SYN_RECV 10.0.0.1:80 > 10.0.0.9:999
            SYN_RECV>ESTABLISHED 10.0.0.1:80 > 10.0.0.9:999
            CLOSE>SYN_RECV 10.0.0.1:80 > 10.0.0.9:998
            inferred SYN_RECV>CLOSE_WAIT 10.0.0.1:80 > 10.0.0.9:998 7 seen
            CLOSE_WAIT>LAST_ACK 10.0.0.1:80 > 10.0.0.9:998 7 seen
            CLOSE>SYN_RECV 10.0.0.1:80 > 10.0.0.9:997
        "#]],
    );
}

#[test]
fn minisocks_whose_begin_was_lost() {
    check(
        "t TW_START TIME_WAIT 10.0.0.1:1 > 10.0.0.9:1
t TW_CANCEL TIME_WAIT 10.0.0.1:1 > 10.0.0.9:1 expired
u TW_CANCEL TIME_WAIT 10.0.0.1:2 > 10.0.0.9:2 expired
r REQ_CANCEL 10.0.0.1:80 > 10.0.0.9:3
a STATE CLOSE>SYN_SENT 10.0.0.1:4 > 10.0.0.9:4 curl/42
a STATE SYN_SENT>ESTABLISHED 10.0.0.1:4 > 10.0.0.9:4
v TW_CANCEL TIME_WAIT 10.0.0.1:4 > 10.0.0.9:4 expired
b STATE CLOSE>SYN_SENT 10.0.0.1:5 > 10.0.0.9:5 curl/42
w TW_CANCEL TIME_WAIT 10.0.0.1:5 > 10.0.0.9:5
b STATE SYN_SENT>ESTABLISHED 10.0.0.1:5 > 10.0.0.9:5",
        expect![[r#"
            inferred ?>TIME_WAIT 10.0.0.1:1 > 10.0.0.9:1
            TIME_WAIT>CLOSE 10.0.0.1:1 > 10.0.0.9:1
            inferred ?>TIME_WAIT 10.0.0.1:2 > 10.0.0.9:2
            TIME_WAIT>CLOSE 10.0.0.1:2 > 10.0.0.9:2
            inferred ?>SYN_RECV 10.0.0.1:80 > 10.0.0.9:3
            CLOSE>SYN_SENT 10.0.0.1:4 > 10.0.0.9:4 42 seen
            SYN_SENT>ESTABLISHED 10.0.0.1:4 > 10.0.0.9:4 42 seen
            inferred ESTABLISHED>TIME_WAIT 10.0.0.1:4 > 10.0.0.9:4 42 seen
            TIME_WAIT>CLOSE 10.0.0.1:4 > 10.0.0.9:4 42 seen
            CLOSE>SYN_SENT 10.0.0.1:5 > 10.0.0.9:5 42 seen
            inferred ?>CLOSE 10.0.0.1:5 > 10.0.0.9:5
            SYN_SENT>ESTABLISHED 10.0.0.1:5 > 10.0.0.9:5 42 seen
            SYN_RECV>CLOSE 10.0.0.1:80 > 10.0.0.9:3
        "#]],
    );
}

/// Before Linux 6.18 a child learns its peer after its birth: while one may carry a request on, the
/// request waits, though its address is used again.
#[test]
fn a_request_that_waits_for_its_child_is_carried_on_by_what_came_of_it() {
    check(
        "c STATE LISTEN>SYN_RECV 10.0.0.1:80 > 0.0.0.0:0
r REQ_START 10.0.0.1:80 > 10.0.0.9:3
r REQ_CANCEL 10.0.0.1:80 > 10.0.0.9:3
r TW_START TIME_WAIT 10.0.0.1:1 > 10.0.0.9:1
t TW_CANCEL TIME_WAIT 10.0.0.1:80 > 10.0.0.9:3 expired",
        expect![[r#"
            CLOSE>SYN_RECV 10.0.0.1:80 > 10.0.0.9:3
            inferred ?>TIME_WAIT 10.0.0.1:1 > 10.0.0.9:1
            inferred SYN_RECV>TIME_WAIT 10.0.0.1:80 > 10.0.0.9:3
            TIME_WAIT>CLOSE 10.0.0.1:80 > 10.0.0.9:3
        "#]],
    );
}

#[test]
fn a_child_without_a_peer_keeps_its_port() {
    check(
        "c STATE LISTEN>SYN_RECV 10.0.0.1:80 > 0.0.0.0:0
c STATE SYN_RECV>ESTABLISHED 10.0.0.1:81 > 10.0.0.9:3",
        expect![[r#"
            inferred ?>SYN_RECV 10.0.0.1:81 > 10.0.0.9:3
            SYN_RECV>ESTABLISHED 10.0.0.1:81 > 10.0.0.9:3
        "#]],
    );
}

/// Without a seed of their namespace, or in a SYN flood, unknown sockets are no contradiction.
#[test]
fn what_may_be_older_is_no_gap() {
    let script = "a STATE ESTABLISHED>CLOSE_WAIT 10.0.0.1:5 > 10.0.0.2:6
t TW_START TIME_WAIT 10.0.0.1:7 > 10.0.0.2:8
r REQ_CANCEL 10.0.0.1:80 > 10.0.0.9:3";
    for older in [Older::Unknown, Older::Of(2)] {
        check_as(
            Expected { older, ..STRICT },
            script,
            expect![[r#"
                ESTABLISHED>CLOSE_WAIT 10.0.0.1:5 > 10.0.0.2:6
                ?>TIME_WAIT 10.0.0.1:7 > 10.0.0.2:8
                SYN_RECV>CLOSE 10.0.0.1:80 > 10.0.0.9:3
            "#]],
        );
    }
    let flood = Expected {
        half_open: false,
        ..STRICT
    };
    let table = check_as(
        flood,
        "r REQ_CANCEL 10.0.0.1:80 > 10.0.0.9:3",
        expect![[""]],
    );
    assert_eq!((table.gaps(), table.len()), (Gaps::default(), 0));
}

/// A table for rows is not sent the changes between two listed states.
#[test]
fn changes_that_are_not_sent_are_no_gap() {
    let rows = Expected {
        every_change: false,
        ..STRICT
    };
    let table = check_as(
        rows,
        "a STATE CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443
t TW_START TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443
a STATE FIN_WAIT2>CLOSE 10.0.0.1:5 > 10.0.0.2:443
b STATE LISTEN>SYN_RECV 10.0.0.1:80 > 10.0.0.2:5
b STATE LAST_ACK>CLOSE 10.0.0.1:80 > 10.0.0.2:5
b STATE LAST_ACK>CLOSE 10.0.0.1:80 > 10.0.0.2:6",
        expect![[r#"
            CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443
            ?>TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443
            FIN_WAIT2>CLOSE 10.0.0.1:5 > 10.0.0.2:443
            CLOSE>SYN_RECV 10.0.0.1:80 > 10.0.0.2:5
            LAST_ACK>CLOSE 10.0.0.1:80 > 10.0.0.2:5
            inferred ?>LAST_ACK 10.0.0.1:80 > 10.0.0.2:6
            LAST_ACK>CLOSE 10.0.0.1:80 > 10.0.0.2:6
        "#]],
    );
    assert_eq!(table.listed().count(), 1);
}

#[test]
fn healing_links_a_timewait_socket_that_it_finds() {
    let mut table = ConnTable::default();
    table.expect(STRICT);
    let mut changes = Vec::new();
    let line = "a STATE CLOSE>SYN_SENT 10.0.0.1:5 > 10.0.0.2:443 curl/42";
    let call = event(line, 1);
    table.apply(&call, &mut changes);
    let found = SockRow {
        kind: ROW_TIMEWAIT,
        state: 6,
        netns: call.netns,
        family: call.family,
        saddr: call.saddr,
        daddr: call.daddr,
        sport: call.sport,
        dport: call.dport,
        ..SockRow::new_zeroed()
    };
    table.seed(7);
    table.seed_row(7, &found, Ktime(9), &mut changes);
    table.forget(SockId::Kernel(call.skaddr), Ktime(9), &mut changes);
    table.seed(8);
    let other = SockRow {
        kind: ROW_FULL,
        state: 1,
        sport: 6,
        ..found
    };
    table.seed_row(8, &other, Ktime(9), &mut changes);
    table.check_invariants();
    let mut out = String::new();
    changes.iter().for_each(|change| show(&mut out, change));
    expect![[r#"
        CLOSE>SYN_SENT 10.0.0.1:5 > 10.0.0.2:443 42 seen
        inferred SYN_SENT>TIME_WAIT 10.0.0.1:5 > 10.0.0.2:443 42 seen
        inferred ?>ESTABLISHED 10.0.0.1:6 > 10.0.0.2:443
    "#]]
    .assert_eq(&out);
    assert_eq!((table.gaps().all, table.contradictions().all), (2, 0));
}

/// A socket that calls has no port of its own yet; its peer, and what can become of it, tell it
/// from the next one at its address.
#[test]
fn healing_ends_a_calling_socket_whose_address_another_has_by_now() {
    let call = event(
        "a STATE CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443 curl/42",
        1,
    );
    let row = |state, sport, dport| SockRow {
        kind: ROW_FULL,
        state,
        netns: call.netns,
        family: call.family,
        saddr: call.saddr,
        daddr: call.daddr,
        sport,
        dport,
        ..SockRow::new_zeroed()
    };
    let check = |found: SockRow, verdict, told: Expect| {
        let (mut table, mut changes) = (ConnTable::default(), Vec::new());
        table.expect(STRICT);
        table.apply(&call, &mut changes);
        let said = table.correct(call.skaddr, &found, Ktime(9), &mut changes);
        assert_eq!(said, verdict);
        table.check_invariants();
        let mut out = String::new();
        changes.iter().for_each(|change| show(&mut out, change));
        told.assert_eq(&out);
    };
    check(
        row(2, 5, 443),
        Correction::Fine,
        expect![[r#"
        CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443 42 seen
    "#]],
    );
    check(
        row(2, 5, 80),
        Correction::Replaced,
        expect![[r#"
        CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443 42 seen
        inferred SYN_SENT>CLOSE 10.0.0.1:0 > 10.0.0.2:443 42 seen
        inferred ?>SYN_SENT 10.0.0.1:5 > 10.0.0.2:80
    "#]],
    );
    check(
        row(10, 5, 0),
        Correction::Replaced,
        expect![[r#"
        CLOSE>SYN_SENT 10.0.0.1:0 > 10.0.0.2:443 42 seen
        inferred SYN_SENT>CLOSE 10.0.0.1:0 > 10.0.0.2:443 42 seen
        inferred ?>LISTEN 10.0.0.1:5 > 10.0.0.2:0
    "#]],
    );
}

/// A timewait socket in FIN_WAIT2 is looked at, so that its end cannot be missed for long.
#[test]
fn a_half_closed_socket_that_is_gone_has_ended_unseen() {
    let (mut table, mut changes) = (ConnTable::default(), Vec::new());
    table.expect(STRICT);
    let start = event("t TW_START FIN_WAIT2 10.0.0.1:5 > 10.0.0.2:443", 1);
    table.apply(&start, &mut changes);
    let other = event("u TW_START TIME_WAIT 10.0.0.1:6 > 10.0.0.2:443", 2);
    table.apply(&other, &mut changes);
    assert_eq!(table.half_closed(), [start.skaddr]);
    let gone = SockRow::new_zeroed();
    assert!(!table.observe(start.skaddr, &gone, Ktime(9), &mut changes));
    for skaddr in [start.skaddr, other.skaddr, 99] {
        table.miss_end(skaddr, Ktime(9), &mut changes);
    }
    table.check_invariants();
    let mut out = String::new();
    changes.iter().for_each(|change| show(&mut out, change));
    expect![[r#"
        inferred ?>FIN_WAIT2 10.0.0.1:5 > 10.0.0.2:443
        inferred ?>TIME_WAIT 10.0.0.1:6 > 10.0.0.2:443
        inferred FIN_WAIT2>CLOSE 10.0.0.1:5 > 10.0.0.2:443
    "#]]
    .assert_eq(&out);
    assert_eq!((table.gaps().all, table.contradictions().all), (3, 3));
    assert_eq!(table.held(), [other.skaddr]);
}

/// One whose end is told and not settled yet is left to that.
#[test]
fn a_half_closed_socket_in_limbo_is_not_missed() {
    let (mut table, mut changes) = (ConnTable::default(), Vec::new());
    let start = event("t TW_START FIN_WAIT2 10.0.0.1:5 > 10.0.0.2:443", 1);
    table.apply(&start, &mut changes);
    assert!(!table.has_timewait_in_limbo(start.netns));
    let cancel = event("t TW_CANCEL FIN_WAIT2 10.0.0.1:5 > 10.0.0.2:443", 2);
    table.apply(&cancel, &mut changes);
    assert!(table.has_timewait_in_limbo(start.netns));
    assert!(!table.has_timewait_in_limbo(start.netns + 1));
    table.miss_end(start.skaddr, Ktime(9), &mut changes);
    assert_eq!((table.len(), table.gaps().all), (1, 0));
}
