//! Properties of the table over traces that a kernel could send, whole and with losses.

use std::collections::{BTreeMap, BTreeSet};

use netstat_common::{
    event::{KIND_STATE, SockEvent},
    row::ROW_FULL,
};
use proptest::prelude::*;

use super::{
    gaps::{Expected, Gaps},
    gaps_tests::STRICT,
    table::{ConnTable, LIMBO_NS},
    trace::{Script, Truth, World, number, repeated, script},
    types::{Change, Conn, Ktime, Provenance, SockId, TcpState},
};

fn number_of(conn: &Conn) -> u16 {
    number(conn.local.port, conn.remote.port)
}

/// The rows that the table has told of, and the connections that it has not settled yet.
fn told(table: &ConnTable) -> (BTreeMap<u16, Truth>, BTreeSet<u16>) {
    let (mut rows, mut open) = (BTreeMap::new(), BTreeSet::new());
    for entry in table.entries.values().filter(|entry| entry.told()) {
        let conn = &entry.conn;
        if entry.cancelled.is_some() {
            open.insert(number_of(conn));
        }
        let row = Truth {
            state: conn.state,
            since: conn.since.map(|since| since.0),
            owner: conn.owner.map(|owner| owner.pid),
        };
        assert_eq!(
            rows.insert(number_of(conn), row),
            None,
            "one row a connection"
        );
    }
    (rows, open)
}

/// The table says what the kernel knows, of all connections that are not between two steps.
fn assert_equal(table: &ConnTable, world: &World) {
    let (mut rows, open) = told(table);
    let mut truth = world.listed();
    let between = |number: &u16| open.contains(number) || !world.is_named(*number);
    rows.retain(|number, _| !between(number));
    truth.retain(|number, _| !between(number));
    assert_eq!(rows, truth);
}

/// The ways that the changes tell.
fn paths(changes: &[Change], count: usize) -> Vec<Vec<(TcpState, TcpState)>> {
    let mut paths = vec![Vec::new(); count];
    for change in changes {
        let from = change.from.expect("a state before");
        paths[usize::from(number_of(&change.conn))].push((from, change.conn.state));
    }
    paths
}

/// Times of a connection go on, and the time in a state is that between two changes.
fn assert_times(changes: &[Change]) {
    let mut last: BTreeMap<u16, Ktime> = BTreeMap::new();
    for change in changes {
        let before = last.insert(number_of(&change.conn), change.at);
        if let (Some(before), Some(in_from_ns)) = (before, change.in_from_ns) {
            assert_eq!(change.at.0 - before.0, in_from_ns);
        }
    }
}

/// The states of the chains that the changes leave open. Each change carries one on, or begins one
/// at a birth or a discovery.
fn chains(changes: &[Change]) -> BTreeMap<u16, Vec<TcpState>> {
    let mut open: BTreeMap<u16, Vec<TcpState>> = BTreeMap::new();
    for change in changes {
        let states = open.entry(number_of(&change.conn)).or_default();
        if let Some(from) = change.from.filter(|from| *from != TcpState::Close) {
            let at = states.iter().position(|state| *state == from);
            let at = at.unwrap_or_else(|| panic!("no chain goes on with {change:?}"));
            states.remove(at);
        }
        if change.conn.state != TcpState::Close {
            states.push(change.conn.state);
        }
    }
    open.values_mut().for_each(|states| states.sort());
    open.retain(|_, states| !states.is_empty());
    open
}

/// Births minus ends are the rows that are told.
fn assert_conserved(table: &ConnTable, changes: &[Change]) {
    let mut rows: BTreeMap<u16, Vec<TcpState>> = BTreeMap::new();
    for entry in table.entries.values().filter(|entry| entry.told()) {
        let states = rows.entry(number_of(&entry.conn)).or_default();
        states.push(entry.conn.state);
    }
    rows.values_mut().for_each(|states| states.sort());
    assert_eq!(chains(changes), rows);
    let inferred = changes.iter().filter(|change| change.inferred).count() as u64;
    assert_eq!(
        table.gaps().all,
        inferred,
        "each inferred change is counted"
    );
}

/// Walks and sets right, as a healing does.
fn heal(table: &mut ConnTable, world: &World, changes: &mut Vec<Change>) {
    let now = Ktime(world.now());
    table.expire(Ktime(now.0 + 300 * LIMBO_NS), changes);
    let hashed: BTreeMap<_, _> = world.hashed().into_iter().collect();
    for skaddr in table.held() {
        if let Some(row) = hashed.get(&skaddr) {
            table.correct(skaddr, row, now, changes);
        }
    }
    for (skaddr, row) in &hashed {
        table.seed(*skaddr);
        table.seed_row(*skaddr, row, now, changes);
    }
    for skaddr in table.held() {
        if !hashed.contains_key(&skaddr) {
            table.forget(SockId::Kernel(skaddr), now, changes);
        }
    }
    table.check_invariants();
}

fn wanted_for_rows(event: &SockEvent) -> bool {
    let (old, new) = (event.oldstate, event.newstate);
    event.kind != KIND_STATE || old == 7 || new == 7 || new == 3 || new == 10
}

fn scripts() -> impl Strategy<Value = Vec<Script>> {
    prop::collection::vec(script(), 1..8)
}

/// Which connection goes on at each step, and what becomes of its event: 0 lost, 1 told twice.
fn picks() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop::collection::vec((any::<usize>(), 0u8..6), 0..80)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1500) })]

    /// However connections are interleaved and whatever addresses they use: the rows, their owners
    /// and times are right after each event, and each connection's changes are its own way.
    #[test]
    fn a_whole_trace_is_told_exactly(scripts in scripts(), picks in picks(), addresses in 3u64..12) {
        let count = scripts.len() + 1;
        let mut world = World::new(scripts, addresses);
        let mut table = ConnTable::default();
        table.expect(STRICT);
        let mut changes = Vec::new();
        let mut picks = picks.into_iter();
        loop {
            let (pick, fate) = picks.next().unwrap_or((0, 2));
            let Some(event) = world.step(pick) else { break };
            table.apply(&event, &mut changes);
            if fate == 1 && event.kind == KIND_STATE {
                let before = (told(&table), changes.len());
                table.apply(&repeated(&event), &mut changes);
                prop_assert_eq!(before, (told(&table), changes.len()));
            }
            table.check_invariants();
            assert_equal(&table, &world);
            assert_conserved(&table, &changes);
        }
        table.expire(Ktime(u64::MAX), &mut changes);
        assert_conserved(&table, &changes);
        assert_times(&changes);
        prop_assert_eq!(told(&table).0, world.listed());
        prop_assert_eq!(paths(&changes, count), world.paths);
        prop_assert_eq!(table.gaps(), Gaps::default());
    }

    /// The same for a table that is sent births and ends only.
    #[test]
    fn a_trace_of_births_and_ends_has_no_gap(scripts in scripts(), picks in picks(), addresses in 3u64..12) {
        // Before Linux 6.18 such a table never learns the peer of a child; the kernel lists it.
        let named = scripts.into_iter().map(|script| Script { nameless: false, ..script });
        let mut world = World::new(named.collect(), addresses);
        let mut table = ConnTable::default();
        table.expect(Expected { every_change: false, ..STRICT });
        let mut changes = Vec::new();
        let mut picks = picks.into_iter();
        while let Some(event) = world.step(picks.next().map_or(0, |(pick, _)| pick)) {
            if wanted_for_rows(&event) {
                table.apply(&event, &mut changes);
            }
            let cancelled = |number: &u16| {
                let mut all = table.entries.values();
                all.any(|e| e.cancelled.is_some() && number_of(&e.conn) == *number)
            };
            let between = |number: &u16| cancelled(number) || !world.is_named(*number);
            // A socket that calls is one row, though two objects carry it for a moment.
            let rows: BTreeSet<_> = table.listed().map(number_of).filter(|n| !between(n)).collect();
            let truth: BTreeSet<_> = world.listed().into_keys().filter(|n| !between(n)).collect();
            prop_assert_eq!(rows, truth);
        }
        table.expire(Ktime(u64::MAX), &mut changes);
        prop_assert_eq!(table.listed().count(), world.listed().len());
        prop_assert_eq!(table.gaps(), Gaps::default());
    }

    /// Who comes later and looks once sees the same as who was there.
    #[test]
    fn a_seed_takes_the_place_of_the_past(
        scripts in scripts(), picks in picks(), addresses in 3u64..12, cut in 0usize..40,
    ) {
        let count = scripts.len() + 1;
        let mut world = World::new(scripts, addresses);
        let mut picks = picks.into_iter();
        let mut next = || picks.next().map_or(0, |(pick, _)| pick);
        for at in 0.. {
            if (at > cut && world.is_settled()) || world.step(next()).is_none() {
                break;
            }
        }
        let mut table = ConnTable::default();
        let mut changes = Vec::new();
        let owners = world.listed();
        for (skaddr, row) in world.hashed() {
            table.seed(skaddr);
            table.seed_row(skaddr, &row, Ktime(world.now()), &mut changes);
            let owner = owners[&number(row.sport, row.dport)].owner;
            if let (ROW_FULL, Some(pid)) = (row.kind, owner) {
                table.set_owner(SockId::Kernel(skaddr), pid, Provenance::Seeded);
            }
        }
        prop_assert!(changes.is_empty(), "what was there is no news");
        table.expect(STRICT);
        world.begin_here();
        assert_equal(&table, &world);
        while let Some(event) = world.step(next()) {
            table.apply(&event, &mut changes);
            table.check_invariants();
            assert_equal(&table, &world);
        }
        table.expire(Ktime(u64::MAX), &mut changes);
        assert_times(&changes);
        prop_assert_eq!(paths(&changes, count), world.paths);
        prop_assert_eq!(table.gaps(), Gaps::default());
    }

    /// Whatever is lost: the changes stay chains, each that claims to have been seen was one, what
    /// was inferred is counted, and one look sets everything right for good.
    #[test]
    fn what_is_lost_is_counted_or_healed(
        scripts in scripts(), picks in picks(), addresses in 3u64..12, cut in 0usize..60,
    ) {
        let mut world = World::new(scripts, addresses);
        let mut table = ConnTable::default();
        table.expect(STRICT);
        let mut changes = Vec::new();
        let mut picks = picks.into_iter();
        for at in 0.. {
            if at > cut && world.is_settled() {
                break;
            }
            let (pick, fate) = picks.next().unwrap_or((0, 2));
            let Some(event) = world.step(pick) else { break };
            if fate != 0 {
                table.apply(&event, &mut changes);
            }
            table.check_invariants();
            assert_conserved(&table, &changes);
        }
        heal(&mut table, &world, &mut changes);
        assert_conserved(&table, &changes);
        let states = |rows: BTreeMap<u16, Truth>| -> Vec<_> {
            rows.into_iter().map(|(number, row)| (number, row.state)).collect()
        };
        prop_assert_eq!(states(told(&table).0), states(world.listed()));
        let before = table.contradictions();
        while let Some(event) = world.step(picks.next().map_or(0, |(pick, _)| pick)) {
            table.apply(&event, &mut changes);
            table.check_invariants();
            assert_conserved(&table, &changes);
        }
        table.expire(Ktime(u64::MAX), &mut changes);
        assert_conserved(&table, &changes);
        prop_assert_eq!(table.contradictions(), before, "exact after the healing");
        prop_assert_eq!(states(told(&table).0), states(world.listed()));
        for change in changes.iter().filter(|change| !change.inferred) {
            let from = change.from.expect("a state before");
            let step = (from, change.conn.state);
            // A lost begin of the next object leaves the end of this one, which is what was seen.
            let hand_over = [TcpState::SynRecv, TcpState::FinWait2, TcpState::Closing];
            let ends = change.end.is_some() && hand_over.contains(&from);
            let path = &world.paths[usize::from(number_of(&change.conn))];
            prop_assert!(ends || path.contains(&step), "{:?} is not in {:?}", step, path);
        }
    }
}
