//! Owners whose id is another's by now, and owners that are only the listener's.

use netstat_common::event::{FLAG_PROCESS, KIND_STATE, SockEvent};
use zerocopy::FromZeros as _;

use super::{
    table::ConnTable,
    types::{Change, Owner, Provenance, SockId, TcpState},
};

const LISTENER: SockId = SockId::Kernel(1);
const CHILD: SockId = SockId::Kernel(2);

fn number(state: TcpState) -> u8 {
    let at = TcpState::ALL.iter().position(|known| *known == state);
    at.expect("a state") as u8 + 1
}

fn step(table: &mut ConnTable, id: SockId, states: [TcpState; 2], tgid: u32) -> Vec<Change> {
    let mut event = SockEvent::new_zeroed();
    event.kind = KIND_STATE;
    event.skaddr = id.kernel().expect("a kernel address");
    event.family = 2;
    event.netns = 1;
    event.sport = 80;
    (event.oldstate, event.newstate) = (number(states[0]), number(states[1]));
    if tgid != 0 {
        event.flags = FLAG_PROCESS;
        event.tgid = tgid;
        event.comm[..4].copy_from_slice(b"seen");
    }
    let mut changes = Vec::new();
    table.apply(&event, &mut changes);
    table.check_invariants();
    changes
}

/// A listener of process 7, and a connection that nobody has accepted.
fn called() -> ConnTable {
    let mut table = ConnTable::default();
    step(&mut table, LISTENER, [TcpState::Close, TcpState::Listen], 7);
    step(&mut table, CHILD, [TcpState::Listen, TcpState::SynRecv], 0);
    table
}

#[track_caller]
fn owner(table: &ConnTable, id: SockId) -> Owner {
    let owner = table.get(id).and_then(|conn| conn.owner);
    owner.expect("an owner")
}

#[test]
fn an_id_that_is_used_again_is_another_process() {
    let mut table = called();
    table.set_owner(CHILD, 7, Provenance::Resolved);
    table.take_doubts();
    table.id_is_used_again(7);
    table.name_past_owner(7, Some(b"a-name-that-is-long"));
    let past = owner(&table, CHILD);
    assert!(
        past.is_past() && past.comm == *b"a-name-that-is-l",
        "{past:?}"
    );
    // What the log knew it by is better than what the event told, and the next one's name is not its.
    table.name_past_owner(7, Some(b"the-next"));
    let listener = owner(&table, LISTENER);
    assert!(listener.is_past() && listener.comm == *b"a-name-that-is-l");
    assert_eq!(
        table.take_doubts().len(),
        2,
        "who holds them now is to be found out"
    );
    // The new process of that id is no past one, though it has the same number.
    table.set_owner(CHILD, 7, Provenance::Resolved);
    assert!(!owner(&table, CHILD).is_past());
    table.check_invariants();
}

#[test]
fn an_id_that_owns_nothing_may_be_used_again() {
    let mut table = called();
    table.id_is_used_again(8);
    assert!(!owner(&table, LISTENER).is_past());
    assert!(table.take_doubts().is_empty());
}

#[test]
fn who_has_the_listener_now_has_what_nobody_accepted() {
    let mut table = called();
    let conn = *table.get(CHILD).expect("the child");
    assert!(conn.is_inherited());
    assert_eq!(table.listeners_of(&conn).collect::<Vec<_>>(), [LISTENER]);
    table.set_owner(LISTENER, 9, Provenance::Resolved);
    assert_eq!(owner(&table, CHILD).pid, 7);
    table.inherit_owner(CHILD);
    assert_eq!(owner(&table, CHILD).pid, 9);
    assert!(table.get(CHILD).is_some_and(|conn| conn.is_inherited()));
    table.check_invariants();
    // Once accepted it is not the listener's any more.
    table.set_owner(CHILD, 11, Provenance::Resolved);
    table.inherit_owner(CHILD);
    assert_eq!(owner(&table, CHILD).pid, 11);
}

#[test]
fn nobody_of_our_pid_namespace_is_no_owner() {
    let mut table = ConnTable::default();
    let mut event = SockEvent::new_zeroed();
    (event.kind, event.skaddr, event.family, event.flags) = (KIND_STATE, 5, 2, FLAG_PROCESS);
    (event.oldstate, event.newstate) = (number(TcpState::Close), number(TcpState::Listen));
    table.apply(&event, &mut Vec::new());
    let conn = table.get(SockId::Kernel(5)).expect("a listener");
    assert_eq!(conn.owner, None);
}
