//! A slow and obvious kernel: connections of every kind, each a script of legal steps, that run
//! interleaved over few addresses. It knows which connection an object carries, who owns it and
//! since when it is in its state; the table must find that out from the events.

use std::collections::BTreeMap;

use netstat_common::{
    event::{
        FLAG_EXPIRED, FLAG_PROCESS, FLAG_SECOND_COPY, KIND_DESTROY, KIND_REQ_CANCEL,
        KIND_REQ_START, KIND_STATE, KIND_TW_CANCEL, KIND_TW_START, SockEvent,
    },
    row::{ROW_FULL, ROW_REQUEST, ROW_TIMEWAIT, SockRow},
};
use proptest::prelude::*;
use zerocopy::FromZeros as _;

use super::types::TcpState::{
    self, Close, CloseWait, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynRecv,
    SynSent, TimeWait,
};

/// Which object of a connection a step is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Full,
    TimeWait,
    Request,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Op {
    /// `inet_sock_set_state` in softirq.
    Set(TcpState, TcpState),
    /// The same by the process of the connection.
    Call(TcpState, TcpState),
    Destroy,
    /// A timer starts: of a timewait socket with this substate, or of a request.
    Start(Role, TcpState),
    /// A timer is taken out, because it has run out or not; for good or to be started again.
    Cancel(Role, TcpState, bool, bool),
}

use Op::{Call, Cancel, Destroy, Set, Start};

/// How a connection goes.
#[derive(Clone, Debug)]
pub(super) struct Script {
    pub(super) ops: Vec<Op>,
    /// A child that learns its peer with its second event (before Linux 6.18).
    pub(super) nameless: bool,
}

/// The scripts. A listener is number 0 of every world.
pub(super) fn script() -> impl Strategy<Value = Script> {
    let open = vec![Call(Close, SynSent), Set(SynSent, Established)];
    let child = vec![Set(Listen, SynRecv), Set(SynRecv, Established)];
    let request = vec![
        Start(Role::Request, SynRecv),
        Set(Listen, SynRecv),
        Cancel(Role::Request, SynRecv, false, true),
        Set(SynRecv, Established),
    ];
    let mut patient = request.clone();
    let again = [
        Cancel(Role::Request, SynRecv, true, false),
        Start(Role::Request, SynRecv),
    ];
    patient.splice(1..1, again);
    let crossing = vec![
        Call(Close, SynSent),
        Set(SynSent, SynRecv),
        Set(SynRecv, Established),
    ];
    let begins = prop::sample::select(vec![open.clone(), child, request, patient, crossing]);
    let timewait = |expired| {
        vec![
            Call(Established, FinWait1),
            Set(FinWait1, FinWait2),
            Start(Role::TimeWait, TimeWait),
            Set(FinWait2, Close),
            Destroy,
            Cancel(Role::TimeWait, TimeWait, expired, true),
        ]
    };
    let orphan = vec![
        Call(Established, FinWait1),
        Set(FinWait1, FinWait2),
        Call(FinWait2, FinWait2),
        Start(Role::TimeWait, FinWait2),
        Set(FinWait2, Close),
        Destroy,
        Cancel(Role::TimeWait, TimeWait, false, false),
        Start(Role::TimeWait, TimeWait),
        Cancel(Role::TimeWait, TimeWait, true, true),
    ];
    let mut never_answered = orphan.clone();
    never_answered.splice(6.., [Cancel(Role::TimeWait, FinWait2, true, true)]);
    let both = vec![
        Call(Established, FinWait1),
        Set(FinWait1, Closing),
        Start(Role::TimeWait, TimeWait),
        Set(Closing, Close),
        Destroy,
        Cancel(Role::TimeWait, TimeWait, true, true),
    ];
    let passive = vec![
        Set(Established, CloseWait),
        Call(CloseWait, LastAck),
        Set(LastAck, Close),
        Destroy,
    ];
    let again = vec![
        Set(Established, Close),
        Call(Close, SynSent),
        Set(SynSent, Established),
        Set(Established, Close),
        Destroy,
    ];
    let reset = vec![Set(Established, Close), Destroy];
    let ends = prop::sample::select(vec![
        timewait(true),
        timewait(false),
        orphan,
        never_answered,
        both,
        passive,
        again,
        reset,
    ]);
    let whole = (begins, ends).prop_map(|(begin, end)| [begin, end].concat());
    let short = prop::sample::select(vec![
        vec![Call(Close, SynSent), Set(SynSent, Close), Destroy],
        vec![
            Start(Role::Request, SynRecv),
            Cancel(Role::Request, SynRecv, false, true),
        ],
        vec![
            Call(Close, Listen),
            Call(Listen, Close),
            Set(Close, Close),
            Destroy,
        ],
    ]);
    (prop_oneof![4 => whole, 1 => short], any::<bool>())
        .prop_map(|(ops, nameless)| Script { ops, nameless })
}

/// What the kernel knows of a connection that netstat would list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Truth {
    pub(super) state: TcpState,
    pub(super) since: Option<u64>,
    /// Who acted last; a child's is the listener's until then.
    pub(super) owner: Option<u32>,
}

/// A connection that runs.
struct Running {
    script: Script,
    at: usize,
    objects: BTreeMap<Role, u64>,
    truth: Option<Truth>,
    /// Not a child that does not know its peer.
    named: bool,
    /// Its minisock's timer is being started again.
    rearms: bool,
}

/// A way that a connection has gone: state before and after, in order.
pub(super) type Path = Vec<(TcpState, TcpState)>;

pub(super) struct World {
    running: Vec<Running>,
    free: Vec<u64>,
    now: u64,
    pub(super) paths: Vec<Path>,
}

/// The port that tells connections apart, and the process that owns each.
pub(super) const PORT: u16 = 1000;
pub(super) const LISTENER_PID: u32 = 7;

impl World {
    pub(super) fn new(scripts: Vec<Script>, addresses: u64) -> Self {
        let listener = Script {
            ops: vec![Call(Close, Listen)],
            nameless: false,
        };
        let scripts: Vec<_> = [listener].into_iter().chain(scripts).collect();
        Self {
            paths: vec![Vec::new(); scripts.len()],
            running: scripts
                .into_iter()
                .map(|script| Running {
                    script,
                    at: 0,
                    objects: BTreeMap::new(),
                    truth: None,
                    named: true,
                    rearms: false,
                })
                .collect(),
            free: (1..=addresses).rev().collect(),
            now: 0,
        }
    }

    /// The next event: of the connection that `pick` points at, or of another that can go on.
    pub(super) fn step(&mut self, pick: usize) -> Option<SockEvent> {
        let count = self.running.len();
        let pick = if self.now == 0 { 0 } else { pick % count };
        (pick..pick + count).find_map(|number| self.go_on(number % count))
    }

    fn go_on(&mut self, number: usize) -> Option<SockEvent> {
        let one = &mut self.running[number];
        let op = *one.script.ops.get(one.at)?;
        let role = match op {
            Set(..) | Call(..) | Destroy => Role::Full,
            Start(role, _) | Cancel(role, ..) => role,
        };
        let skaddr = match one.objects.get(&role) {
            Some(skaddr) => *skaddr,
            None => {
                let skaddr = self.free.pop()?;
                one.objects.insert(role, skaddr);
                skaddr
            }
        };
        one.at += 1;
        self.now += 1000;
        let mut event = SockEvent::new_zeroed();
        (event.skaddr, event.ktime_ns, event.netns, event.family) = (skaddr, self.now, 1, 2);
        let pid = 100 + number as u32;
        let first = one.at == 1;
        let called = matches!(one.script.ops[0], Set(Listen, _) | Start(..));
        let listens = matches!(one.script.ops[0], Call(_, Listen));
        let port = PORT + number as u16;
        (event.sport, event.dport) = match (number, called, listens) {
            (0, ..) => (80, 0),
            (_, true, _) => (80, port),
            (.., true) => (port, 0),
            _ => (port + PORT, port),
        };
        let mut goes = |one: &mut Running, to, owner: Option<u32>| {
            let before = one.truth.map_or(Close, |truth| truth.state);
            let since = one.truth.and_then(|truth| truth.since);
            let owner = owner.or(one.truth.and_then(|truth| truth.owner));
            if before != to {
                self.paths[number].push((before, to));
            }
            one.truth = (to != Close).then_some(Truth {
                state: to,
                since: if before == to { since } else { Some(self.now) },
                owner,
            });
        };
        match op {
            Set(old, new) | Call(old, new) => {
                event.kind = KIND_STATE;
                (event.oldstate, event.newstate) = (old.number(), new.number());
                let mut owner = None;
                if matches!(op, Call(..)) {
                    event.flags = FLAG_PROCESS;
                    event.tgid = if number == 0 { LISTENER_PID } else { pid };
                    owner = Some(event.tgid);
                }
                if (old, new) == (Close, SynSent) {
                    event.sport = 0;
                }
                let birth = (old, new) == (Listen, SynRecv);
                one.named = !(birth && one.script.nameless);
                if !one.named {
                    event.dport = 0;
                }
                let replaced = one.objects.contains_key(&Role::TimeWait) && new == Close;
                if birth {
                    let inherits = one.truth.is_none().then_some(LISTENER_PID);
                    goes(one, SynRecv, inherits);
                } else if !replaced {
                    goes(one, new, owner);
                }
            }
            Destroy => event.kind = KIND_DESTROY,
            Start(Role::Request, _) => {
                event.kind = KIND_REQ_START;
                goes(one, SynRecv, first.then_some(LISTENER_PID));
            }
            Start(_, substate) => {
                event.kind = KIND_TW_START;
                event.newstate = substate.number();
                goes(one, substate, None);
            }
            Cancel(role, substate, expired, ends) => {
                event.flags = if expired { FLAG_EXPIRED } else { 0 };
                event.newstate = substate.number();
                event.kind = if role == Role::Request {
                    event.newstate = 0;
                    KIND_REQ_CANCEL
                } else {
                    KIND_TW_CANCEL
                };
                if role == Role::TimeWait {
                    goes(one, substate, None);
                }
                if ends && !one.objects.contains_key(&Role::Full) {
                    goes(one, Close, None);
                }
            }
        }
        one.rearms = matches!(op, Cancel(.., false));
        let frees = match op {
            Destroy => true,
            Cancel(_, _, _, ends) => ends,
            _ => false,
        };
        if frees {
            one.objects.remove(&role);
            self.free.push(skaddr);
        }
        Some(event)
    }

    /// What netstat would list, by the number of the connection.
    pub(super) fn listed(&self) -> BTreeMap<u16, Truth> {
        let all = self.running.iter().zip(0u16..);
        all.filter_map(|(one, number)| Some((number, one.truth?)))
            .collect()
    }

    /// Whether the events so far tell all of a connection: its child, if any, has a peer.
    pub(super) fn is_named(&self, number: u16) -> bool {
        self.running[usize::from(number)].named
    }

    /// Whether no connection is between two steps that take microseconds.
    pub(super) fn is_settled(&self) -> bool {
        self.running.iter().all(|one| one.named && !one.rearms)
    }

    /// The objects that a walk over the hash tables finds, as a refresh reads them.
    pub(super) fn hashed(&self) -> Vec<(u64, SockRow)> {
        let mut found = Vec::new();
        for (number, one) in self.running.iter().enumerate() {
            let Some(truth) = one.truth else { continue };
            // Each object takes the place of the one before it.
            let order = [Role::TimeWait, Role::Full, Role::Request];
            let role = order
                .into_iter()
                .find(|role| one.objects.contains_key(role));
            let Some(role) = role else { continue };
            let called = matches!(one.script.ops[0], Set(Listen, _) | Start(..));
            let listens = matches!(one.script.ops[0], Call(_, Listen));
            let port = PORT + number as u16;
            let (sport, dport) = match (number, called, listens) {
                (0, ..) => (80, 0),
                (_, true, _) => (80, port),
                (.., true) => (port, 0),
                _ => (port + PORT, port),
            };
            found.push((
                one.objects[&role],
                SockRow {
                    kind: match role {
                        Role::Full => ROW_FULL,
                        Role::TimeWait => ROW_TIMEWAIT,
                        Role::Request => ROW_REQUEST,
                    },
                    state: truth.state.number(),
                    netns: 1,
                    family: 2,
                    sport,
                    dport,
                    ..SockRow::new_zeroed()
                },
            ));
        }
        found
    }

    /// The time of the last event.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Forgets what nobody can know who comes now: times, and owners of what has no file.
    pub(super) fn begin_here(&mut self) {
        for (one, path) in self.running.iter_mut().zip(&mut self.paths) {
            path.clear();
            let has_file =
                one.objects.contains_key(&Role::Full) && !one.objects.contains_key(&Role::TimeWait);
            if let Some(truth) = &mut one.truth {
                truth.since = None;
                truth.owner = truth.owner.filter(|_| has_file);
            }
        }
    }
}

/// The number of the connection that an endpoint pair belongs to.
pub(super) fn number(sport: u16, dport: u16) -> u16 {
    match (sport, dport) {
        (80, 0) => 0,
        (port, 0) | (_, port) => port - PORT,
    }
}

/// An event as the second copy of the hook repeats it.
pub(super) fn repeated(event: &SockEvent) -> SockEvent {
    SockEvent {
        flags: event.flags | FLAG_SECOND_COPY,
        ..*event
    }
}
