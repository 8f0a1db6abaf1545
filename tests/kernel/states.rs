//! Every state, as a one-shot shows it and as a running `-c` does: one that was there before the
//! sockets and one that came after them.

use netstat_tests::{
    continuous::Continuous,
    netns::within,
    oracle::{assert_live, assert_same},
    states::{Stack, Way, reach},
};

const ONE_SHOTS: [&[&str]; 4] = [&["-anpt"], &["-tnpeo", "-a"], &["-nt"], &["-lntpe"]];
const LIVE: [&[&str]; 2] = [&["-anpt"], &["-anteo"]];

fn check(way: Way, stack: Stack) {
    within(|net| {
        // A device or a table that appears later must not be what makes the early one right.
        net.tun();
        let before = LIVE.map(|args| Continuous::start(net, args));
        let scene = reach(net, way, stack);
        let after = LIVE.map(|args| Continuous::start(net, args));
        for args in ONE_SHOTS {
            assert_same(net, args);
        }
        let mut lives: Vec<_> = before.into_iter().chain(after).collect();
        let rows = assert_live(net, &mut lives);
        assert_eq!(rows, lives.len() * scene.rows.len(), "{way:?} {stack:?}");
    });
}

/// One test for each way and stack, named `way::stack`.
macro_rules! states {
    ($($name:ident: $way:ident,)*) => {$(
        mod $name {
            use super::{Stack, Way, check};

            #[test]
            fn v4() {
                check(Way::$way, Stack::V4);
            }

            #[test]
            fn v6() {
                check(Way::$way, Stack::V6);
            }

            #[test]
            fn dual() {
                check(Way::$way, Stack::Dual);
            }
        }
    )*};
}

states! {
    listen: Listen,
    syn_sent: SynSent,
    syn_recv: SynRecv,
    simultaneous_open: SimultaneousOpen,
    established: Established,
    accepted: Accepted,
    unaccepted: Unaccepted,
    received_data: ReceivedData,
    sent_data: SentData,
    keepalive: KeepAlive,
    zero_window: ZeroWindow,
    fin_wait1: FinWait1,
    fin_wait1_orphan: FinWait1Orphan,
    fin_wait2: FinWait2,
    fin_wait2_mini: FinWait2Mini,
    time_wait: TimeWait,
    close_wait: CloseWait,
    last_ack: LastAck,
    last_ack_orphan: LastAckOrphan,
    closing: Closing,
    closing_orphan: ClosingOrphan,
    reset: Reset,
    bound: Bound,
}
