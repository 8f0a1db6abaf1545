//! Properties of the table where one pair of endpoints is used again and again, by sockets and
//! minisocks at few addresses.

use proptest::prelude::*;

use super::{
    table::{ConnTable, LIMBO_NS},
    table_tests::{event, show},
    types::{Change, Kind, Ktime, TcpState},
};

const ENDS: &str = "10.0.0.1:5 > 10.0.0.2:443";

/// How the endpoints are taken from the connection before, which is in TIME_WAIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// The kernel chooses the port: the call begins without one.
    Call,
    /// The caller has bound its port.
    BoundCall,
    /// A caller's SYN.
    Syn,
}

/// A connection from its opening to its TIME_WAIT.
#[derive(Clone, Debug)]
struct Use {
    opening: Opening,
    /// How often the timer of the minisock is started again.
    rearms: usize,
    /// Which of the free addresses the socket, the request and the minisock get.
    picks: [usize; 3],
    /// Whether so much time passes before the next that no minisock is in limbo.
    rests: bool,
}

fn uses() -> impl Strategy<Value = Vec<Use>> {
    let opening = prop::sample::select(vec![Opening::Call, Opening::BoundCall, Opening::Syn]);
    let one = (opening, 0usize..3, any::<[usize; 3]>(), any::<bool>());
    let one = one.prop_map(|(opening, rearms, picks, rests)| Use {
        opening,
        rearms,
        picks,
        rests,
    });
    prop::collection::vec(one, 1..8)
}

/// The kernel: addresses that are free, and the minisock that has the endpoints.
struct World {
    free: Vec<char>,
    timewait: Option<char>,
    table: ConnTable,
    changes: Vec<Change>,
    now: u64,
}

impl World {
    fn take(&mut self, pick: usize) -> char {
        self.free.remove(pick % self.free.len())
    }

    fn tell(&mut self, line: &str) {
        self.now += 1;
        self.table.apply(&event(line, self.now), &mut self.changes);
        self.table.check_invariants();
    }

    fn cancel(&mut self) {
        if let Some(old) = self.timewait.take() {
            self.tell(&format!("{old} TW_CANCEL TIME_WAIT {ENDS}"));
            self.free.push(old);
        }
    }

    /// Lets the events of a connection happen; gives what must be told of it.
    fn live(&mut self, one: &Use) -> Vec<String> {
        let mut told = Vec::new();
        let begins = self.timewait.map(|_| format!("TIME_WAIT>CLOSE {ENDS}"));
        let full = self.take(one.picks[0]);
        if one.opening == Opening::Syn {
            self.cancel();
            let request = self.take(one.picks[1]);
            self.tell(&format!("{request} REQ_START {ENDS}"));
            self.tell(&format!("{full} STATE LISTEN>SYN_RECV {ENDS}"));
            self.tell(&format!("{request} REQ_CANCEL {ENDS}"));
            self.free.push(request);
            self.tell(&format!("{full} STATE SYN_RECV>ESTABLISHED {ENDS}"));
            told.extend(begins);
            let changes = ["CLOSE>SYN_RECV", "SYN_RECV>ESTABLISHED"];
            told.extend(changes.map(|change| format!("{change} {ENDS}")));
        } else {
            let at_first = match one.opening {
                Opening::Call => "10.0.0.1:0 > 10.0.0.2:443",
                Opening::BoundCall | Opening::Syn => ENDS,
            };
            self.tell(&format!("{full} STATE CLOSE>SYN_SENT {at_first}"));
            self.cancel();
            self.tell(&format!("{full} STATE SYN_SENT>ESTABLISHED {ENDS}"));
            told.push(format!("CLOSE>SYN_SENT {at_first}"));
            told.extend(begins);
            told.push(format!("SYN_SENT>ESTABLISHED {ENDS}"));
        }
        self.tell(&format!("{full} STATE ESTABLISHED>FIN_WAIT1 {ENDS}"));
        self.tell(&format!("{full} STATE FIN_WAIT1>FIN_WAIT2 {ENDS}"));
        let minisock = self.take(one.picks[2]);
        self.timewait = Some(minisock);
        self.tell(&format!("{minisock} TW_START TIME_WAIT {ENDS}"));
        self.tell(&format!(
            "{full} STATE FIN_WAIT2>CLOSE 10.0.0.1:0 > 10.0.0.2:443"
        ));
        self.tell(&format!("{full} DESTROY"));
        self.free.push(full);
        for _ in 0..one.rearms {
            self.tell(&format!("{minisock} TW_CANCEL TIME_WAIT {ENDS}"));
            self.tell(&format!("{minisock} TW_START TIME_WAIT {ENDS}"));
        }
        let changes = [
            "ESTABLISHED>FIN_WAIT1",
            "FIN_WAIT1>FIN_WAIT2",
            "FIN_WAIT2>TIME_WAIT",
        ];
        told.extend(changes.map(|change| format!("{change} {ENDS}")));
        if one.rests {
            self.now += LIMBO_NS;
            self.table.expire(Ktime(self.now * 1000), &mut self.changes);
        }
        told
    }

    fn told(&self) -> Vec<String> {
        let mut text = String::new();
        for change in &self.changes {
            show(&mut text, change);
        }
        text.lines().map(str::to_owned).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    /// Each connection is told from its begin to its end, once, and its TIME_WAIT is the only row
    /// when it is there. Where the port is not bound, all comes in the kernel's order; where it is,
    /// the end of the TIME_WAIT before may be told late, within its limbo.
    #[test]
    fn each_use_of_the_endpoints_is_a_connection_of_its_own(uses in uses(), addresses in 3usize..6) {
        let mut world = World {
            free: ('a'..='z').take(addresses).collect(),
            timewait: None,
            table: ConnTable::default(),
            changes: Vec::new(),
            now: 0,
        };
        let mut expected = Vec::new();
        for one in &uses {
            expected.extend(world.live(one));
            let mut rows: Vec<_> = world.table.listed().collect();
            rows.retain(|conn| world.table.entries[&conn.id].cancelled.is_none());
            prop_assert_eq!(rows.len(), 1);
            prop_assert_eq!((rows[0].kind, rows[0].state), (Kind::TimeWait, TcpState::TimeWait));
        }
        world.cancel();
        world.table.expire(Ktime(u64::MAX), &mut world.changes);
        prop_assert_eq!(world.table.len(), 0);
        expected.push(format!("TIME_WAIT>CLOSE {ENDS}"));
        let mut told = world.told();
        if uses.iter().any(|one| one.opening == Opening::BoundCall) {
            told.sort();
            expected.sort();
        }
        prop_assert_eq!(told, expected);
    }
}
