//! What the table is filled with at the start.

use std::{collections::BTreeMap, fs};

use netstat_tests::{
    netns::within,
    states::{Stack, Way, reach},
};
use netstat_user::{
    conn::types::{Endpoint, Kind},
    kernel::{
        learn,
        object::{Handlers, Purpose},
        session::{SeedFrom, Session},
    },
};

/// A socket without what only one of the two seeds can know: its identity.
type Seen = (Kind, u16, Endpoint, Endpoint, &'static str, u32);

/// The sockets of this thread's namespace in a table that is filled from `from`, with how often
/// each is there.
fn table(from: SeedFrom) -> BTreeMap<Seen, usize> {
    let session = Session::start(Purpose::Log, from, false).expect("start tracing");
    let mut sockets = BTreeMap::new();
    for conn in session
        .table
        .listed()
        .filter(|conn| conn.netns == session.netns)
    {
        let seen = (
            conn.kind,
            conn.family,
            conn.local,
            conn.remote,
            conn.state.name(),
            conn.netns,
        );
        *sockets.entry(seen).or_default() += 1;
    }
    sockets
}

#[test]
fn iterators_and_proc_give_the_same_table() {
    let ways = [
        Way::Listen,
        Way::SynSent,
        Way::SynRecv,
        Way::Established,
        Way::Accepted,
        Way::TimeWait,
        Way::CloseWait,
        Way::LastAck,
        Way::Closing,
    ];
    for way in ways {
        for stack in [Stack::V4, Stack::V6, Stack::Dual] {
            within(|net| {
                let scene = reach(net, way, stack);
                let kernel = table(SeedFrom::Kernel);
                let proc = table(SeedFrom::Proc);
                assert_eq!(kernel, proc, "{way:?} {stack:?}");
                let sockets: usize = kernel.values().sum();
                assert_eq!(sockets, scene.rows.len(), "{way:?} {stack:?}: {kernel:?}");
            });
        }
    }
}

#[test]
fn hidden_timer_functions_are_learned_as_kallsyms_shows_them() {
    let shown = Handlers::from_kallsyms().expect("read /proc/kallsyms");
    assert!(
        shown.timewait != 0 && shown.request != 0,
        "/proc/kallsyms hides addresses (remedy: sysctl kernel.kptr_restrict=1): {}",
        fs::read_to_string("/proc/sys/kernel/kptr_restrict").unwrap_or_default()
    );
    assert_eq!(learn::handlers().expect("learn"), shown);
}
