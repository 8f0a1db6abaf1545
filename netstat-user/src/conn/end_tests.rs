//! What is said of a connection at its end.

use std::net::Ipv4Addr;

use netstat_common::event::{
    ABSENT, EndEvent, FLAG_EXPIRED, KIND_END, KIND_REQ_CANCEL, KIND_REQ_START, KIND_STATE,
    KIND_TW_CANCEL, KIND_TW_START, SockEvent,
};
use proptest::prelude::*;
use zerocopy::{FromBytes as _, FromZeros as _};

use super::{
    table::{ConnTable, LIMBO_NS},
    types::{Change, Direction, End, Ktime, Side, TcpState, Why},
};

const SOCK_DONE: u64 = 2;

fn number(state: TcpState) -> u8 {
    let at = TcpState::ALL.iter().position(|known| *known == state);
    at.expect("a state") as u8 + 1
}

/// A table, and the time that passes by a microsecond with each event.
#[derive(Default)]
struct Run {
    table: ConnTable,
    changes: Vec<Change>,
    now: u64,
}

impl Run {
    fn tell(&mut self, kind: u32, skaddr: u64, set: impl FnOnce(&mut SockEvent)) {
        self.now += 1000;
        let mut event = SockEvent::new_zeroed();
        event.kind = kind;
        event.skaddr = skaddr;
        event.ktime_ns = self.now;
        event.family = 2;
        event.netns = 1;
        event.saddr = Ipv4Addr::new(10, 0, 0, 1).to_ipv6_mapped().octets();
        event.daddr = Ipv4Addr::new(10, 0, 0, 2).to_ipv6_mapped().octets();
        (event.sport, event.dport) = (5000, 443);
        set(&mut event);
        self.table.apply(&event, &mut self.changes);
    }

    fn step(&mut self, skaddr: u64, old: TcpState, new: TcpState) {
        self.tell(KIND_STATE, skaddr, |event| {
            (event.oldstate, event.newstate) = (number(old), number(new));
        });
    }

    fn path(&mut self, skaddr: u64, states: &[TcpState]) {
        for pair in states.windows(2) {
            self.step(skaddr, pair[0], pair[1]);
        }
    }

    fn numbers(&mut self, skaddr: u64, errno: u32, flags: u64) {
        self.table.apply_end(&EndEvent {
            kind: KIND_END,
            error: errno,
            skaddr,
            bytes_sent: 130,
            bytes_retrans: 30,
            bytes_acked: 102,
            bytes_received: 51,
            total_retrans: 3,
            sock_flags: flags,
        });
    }

    #[track_caller]
    fn end(&mut self) -> (Option<TcpState>, End) {
        self.table
            .expire(Ktime(self.now + 2 * LIMBO_NS), &mut self.changes);
        let ends: Vec<_> = self.changes.iter().filter(|c| c.end.is_some()).collect();
        let [change] = ends[..] else {
            panic!("one end, not {ends:?}")
        };
        assert_eq!(change.conn.state, TcpState::Close);
        (change.from, change.end.expect("filtered"))
    }
}

use TcpState::{
    Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv, SynSent,
    TimeWait,
};

#[track_caller]
fn check(states: &[TcpState], errno: u32, by: Option<Side>, why: Why) {
    let mut run = Run::default();
    run.path(1, states);
    run.numbers(1, errno, 0);
    run.step(1, states[states.len() - 1], Close);
    let (_, end) = run.end();
    assert_eq!((end.closed_by, end.why), (by, Some(why)), "{states:?}");
    assert_eq!(end.life_ns, Some(1000 * (states.len() as u64 - 1)));
}

#[test]
fn who_closed_and_why() {
    let (local, remote) = (Some(Side::Local), Some(Side::Remote));
    let open = [Close, SynSent, Established];
    let with = |more: &[TcpState]| [&open[..], more].concat();
    check(&with(&[CloseWait, LastAck]), 0, remote, Why::Fin);
    check(&with(&[FinWait1, Closing]), 0, local, Why::Fin);
    check(&open, 0, local, Why::RstSent);
    check(&open, 104, remote, Why::RstReceived);
    check(&open, 110, None, Why::Timeout);
    check(&open, 113, None, Why::Unreachable);
    check(&open, 103, local, Why::RstSent);
    check(&open, 71, None, Why::Error);
    check(&with(&[CloseWait]), 32, remote, Why::RstReceived);
    check(&with(&[CloseWait]), 0, remote, Why::RstSent);
    check(&with(&[CloseWait, LastAck]), 104, remote, Why::RstReceived);
    check(&with(&[FinWait1]), 110, local, Why::Timeout);
    check(&with(&[FinWait1, FinWait2]), 0, local, Why::RstSent);
    check(&[Close, SynSent], 111, remote, Why::Refused);
    check(&[Close, SynSent], 110, None, Why::Timeout);
    check(&[Close, SynSent], 0, local, Why::Closed);
    check(&[Close, Listen], 0, local, Why::Closed);
    check(&[Listen, SynRecv, Established], 0, local, Why::RstSent);
}

#[test]
fn numbers_are_of_payload() {
    for (flags, received) in [(0, 51), (SOCK_DONE, 50)] {
        let mut run = Run::default();
        run.path(1, &[Close, SynSent, Established, CloseWait, LastAck]);
        run.numbers(1, 0, flags);
        run.step(1, LastAck, Close);
        let tally = run.end().1.tally.expect("numbers");
        assert_eq!((tally.sent, tally.acked), (Some(100), Some(102)));
        assert_eq!(tally.received, Some(received));
        assert_eq!(tally.retransmits, Some(3));
    }
}

#[test]
fn a_minisock_tells_the_numbers_of_its_full_socket() {
    let mut run = Run::default();
    run.path(1, &[Close, SynSent, Established, FinWait1, FinWait2]);
    run.tell(KIND_TW_START, 2, |event| event.newstate = number(TimeWait));
    run.numbers(1, 0, SOCK_DONE);
    run.step(1, FinWait2, Close);
    assert!(run.changes.iter().all(|change| change.end.is_none()));
    run.tell(KIND_TW_CANCEL, 2, |event| {
        event.newstate = number(TimeWait);
        event.flags = FLAG_EXPIRED;
    });
    let (from, end) = run.end();
    assert_eq!(from, Some(TimeWait));
    assert_eq!(
        (end.closed_by, end.why),
        (Some(Side::Local), Some(Why::Fin))
    );
    assert_eq!(end.tally.and_then(|tally| tally.received), Some(50));
    assert_eq!(end.life_ns, Some(6000));
}

#[test]
fn a_fin_wait2_that_nobody_answers_times_out() {
    for (flags, why) in [(FLAG_EXPIRED, Some(Why::Timeout)), (0, None)] {
        let mut run = Run::default();
        run.path(1, &[Close, SynSent, Established, FinWait1, FinWait2]);
        run.tell(KIND_TW_START, 2, |event| event.newstate = number(FinWait2));
        run.numbers(1, 0, 0);
        run.step(1, FinWait2, Close);
        run.tell(KIND_TW_CANCEL, 2, |event| {
            event.newstate = number(FinWait2);
            event.flags = flags;
        });
        let (from, end) = run.end();
        assert_eq!((from, end.why), (Some(FinWait2), why));
        assert_eq!(end.closed_by, Some(Side::Local));
    }
}

#[test]
fn a_request_that_nobody_answers_times_out_and_an_answered_one_lives_on() {
    for (flags, why) in [(FLAG_EXPIRED, Some(Why::Timeout)), (0, None)] {
        let mut run = Run::default();
        run.tell(KIND_REQ_START, 2, |_| {});
        run.tell(KIND_REQ_CANCEL, 2, |event| event.flags = flags);
        assert_eq!(run.end().1.why, why);
    }
    let mut run = Run::default();
    run.tell(KIND_REQ_START, 2, |_| {});
    run.path(1, &[Listen, SynRecv]);
    run.tell(KIND_REQ_CANCEL, 2, |_| {});
    run.path(1, &[SynRecv, Established, Close]);
    let (_, end) = run.end();
    assert_eq!(end.life_ns, Some(4000));
    let directions: Vec<_> = run.changes.iter().map(|c| c.conn.direction).collect();
    assert_eq!(directions, [Some(Direction::In); 3]);
}

#[test]
fn a_socket_that_connects_again_begins_a_new_life() {
    let mut run = Run::default();
    run.path(1, &[Close, SynSent, Established]);
    run.numbers(1, 104, 0);
    run.path(1, &[Established, Close, SynSent]);
    run.changes.clear();
    run.step(1, SynSent, Close);
    let (_, end) = run.end();
    assert_eq!((end.life_ns, end.tally, end.why), (Some(1000), None, None));
}

proptest! {
    /// Any bytes of the kernel give an end; a counter that it lacks stays unknown.
    #[test]
    fn any_numbers_make_an_end(bytes in prop::collection::vec(any::<u8>(), 64), lacks in any::<bool>()) {
        let mut event = EndEvent::read_from_bytes(&bytes[..]).expect("64 bytes");
        event.skaddr = 1;
        if lacks {
            event.bytes_sent = ABSENT;
        }
        let mut run = Run::default();
        run.path(1, &[Close, SynSent, Established]);
        run.table.apply_end(&event);
        run.step(1, Established, Close);
        let tally = run.end().1.tally.expect("numbers");
        prop_assert_eq!(tally.errno, event.error);
        prop_assert_eq!(tally.sent.is_none(), event.bytes_sent == ABSENT || event.bytes_retrans == ABSENT);
    }
}
