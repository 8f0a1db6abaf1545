//! What the table is filled with at the start.

use std::{
    collections::BTreeMap,
    fs,
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use netstat_tests::{
    netns::within,
    states::{Stack, Way, reach},
    wait,
};
use netstat_user::{
    conn::types::{Change, Endpoint, Kind, TcpState},
    kernel::{
        learn,
        object::{Handlers, Purpose},
        session::{News, SeedFrom, Session},
    },
};

/// How often a tracer is started amid changes, and how many it sees each time.
const STARTS: usize = 10;
const CHANGES: usize = 100;

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

/// Both ends of a connection on loopback, the caller's first.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("own address");
    let caller = TcpStream::connect(address).expect("connect");
    (caller, listener.accept().expect("accept").0)
}

/// As before Linux 5.17, where no program loops over sockets.
#[test]
fn a_fin_that_makes_no_event_is_seen_without_loops() {
    within(|net| {
        let mut session =
            Session::start(Purpose::Log, SeedFrom::Proc, false).expect("start tracing");
        let (caller, answerer) = connection();
        let port = caller.local_addr().expect("own address").port();
        let mut look = |from: TcpState, to: TcpState| {
            let is_it = |change: &Change| {
                let conn = change.conn;
                u64::from(conn.netns) == net.inode()
                    && (conn.local.port, change.from, conn.state) == (port, Some(from), to)
            };
            wait::until("the change", || {
                let mut news = News::default();
                session.drain(&mut news).expect("drain");
                let looked = session.look_at_half_closed(&Default::default(), &mut news.changes);
                looked.expect("look");
                news.changes.into_iter().find(is_it)
            })
        };
        drop(caller);
        look(TcpState::FinWait1, TcpState::FinWait2);
        drop(answerer);
        let change = look(TcpState::FinWait2, TcpState::TimeWait);
        assert_eq!((change.conn.kind, change.inferred), (Kind::TimeWait, false));
    });
}

/// What /proc lists is in no order with the events: neither may contradict the other.
#[test]
fn a_start_amid_changes_infers_nothing() {
    within(|net| {
        let goes_on = AtomicBool::new(true);
        thread::scope(|scope| {
            scope.spawn(|| {
                while goes_on.load(Ordering::Relaxed) {
                    drop(connection());
                    // Else /proc is soon too long: a ring that is full meanwhile is another test.
                    thread::sleep(Duration::from_millis(10));
                }
            });
            let _stop = Stop(&goes_on);
            for _ in 0..STARTS {
                let mut session =
                    Session::start(Purpose::Log, SeedFrom::Proc, false).expect("start tracing");
                let mut news = News::default();
                let ours = |change: &&Change| u64::from(change.conn.netns) == net.inode();
                wait::until("changes", || {
                    session.drain(&mut news).expect("drain");
                    (news.changes.iter().filter(ours).count() > CHANGES).then_some(())
                });
                let inferred = |change: &&Change| ours(change) && change.inferred;
                let inferred: Vec<_> = news.changes.iter().filter(inferred).collect();
                let lost = session.health().lost.of_sockets();
                assert!(inferred.is_empty(), "{lost} lost: {inferred:#?}");
            }
        });
    });
}

/// Ends what goes on, also when a test fails meanwhile.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
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
