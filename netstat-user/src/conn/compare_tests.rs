use proptest::prelude::*;

use super::*;

fn place(port: u16) -> Place {
    let end = |port| Endpoint {
        addr: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1],
        port,
    };
    Place::new(7, false, end(port), end(80))
}

fn what(state: u8, inode: u64) -> What {
    What { state, inode }
}

fn listing(rows: &[(u16, u8, u64)]) -> Listing {
    let mut listing = Listing::default();
    for (port, state, inode) in rows {
        listing.add(place(*port), what(*state, *inode));
    }
    listing
}

type Rows<'a> = &'a [(u16, u8, u64)];

/// Passes over a table and a kernel that stand still.
fn still(table: Rows<'_>, kernel: Rows<'_>) -> Comparison {
    let (table, kernel) = (listing(table), listing(kernel));
    let mut comparison = Comparison::default();
    for round in 0..5 {
        comparison.judge(&Pass {
            at: Ktime(round * 100_000_000),
            before: &table,
            kernel: &kernel,
            after: &table,
            changed: &Changed::default(),
        });
    }
    comparison
}

fn faults(comparison: &Comparison) -> Vec<Fault> {
    comparison.wrong.iter().map(|wrong| wrong.fault).collect()
}

#[test]
fn each_kind_of_fault_is_found() {
    let right: Rows<'_> = &[(1, 1, 10), (2, 6, 0), (3, 10, 30), (3, 10, 31)];
    let table = |wrong: Rows<'_>| faults(&still(wrong, right));
    assert_eq!(table(right), []);
    assert_eq!(table(&right[1..]), [Fault::Missing]);
    assert_eq!(table(&right[..3]), [Fault::Missing]);
    assert_eq!(table(&[right, &[(4, 1, 40)]].concat()), [Fault::Extra]);
    assert_eq!(table(&[right, &[(2, 6, 0)]].concat()), [Fault::Extra]);
    assert_eq!(
        table(&[&right[1..], &[(1, 8, 10)]].concat()),
        [Fault::State]
    );
    assert_eq!(
        table(&[&right[1..], &[(1, 1, 99)]].concat()),
        [Fault::Replaced]
    );
    assert_eq!(
        table(&[&right[1..], &[(1, 8, 99)]].concat()),
        [Fault::Replaced]
    );
    assert_eq!(table(&[]), [Fault::Missing; 4]);
    let all = still(right, right);
    assert_eq!((all.right, all.again, all.undecided()), (4, 0, 0));
    let three = still(&right[1..], right);
    assert_eq!((three.right, three.wrong[0].what), (3, what(1, 10)));
}

#[test]
fn a_difference_that_does_not_last_is_no_fault() {
    let (table, short) = (listing(&[(1, 1, 10)]), Listing::default());
    let mut comparison = Comparison::default();
    // The kernel's file skips a row now and then while it changes.
    for (round, kernel) in [&short, &short, &table].into_iter().enumerate() {
        comparison.judge(&Pass {
            at: Ktime(round as u64 * 1_000_000_000),
            before: &table,
            kernel,
            after: &table,
            changed: &Changed::default(),
        });
    }
    assert_eq!(comparison.wrong, []);
    assert_eq!((comparison.right, comparison.vanished), (1, 0));
    assert_eq!((comparison.undecided(), comparison.again), (0, 1));
}

#[test]
fn a_row_that_nothing_explains_is_not_forgotten() {
    let (seen, nothing) = (listing(&[(1, 1, 10)]), Listing::default());
    let mut comparison = Comparison::default();
    for kernel in [&seen, &nothing] {
        comparison.judge(&Pass {
            at: Ktime(0),
            before: &nothing,
            kernel,
            after: &nothing,
            changed: &Changed::default(),
        });
    }
    assert_eq!(comparison.wrong, []);
    assert_eq!((comparison.vanished, comparison.undecided()), (1, 0));
}

#[test]
fn what_goes_on_changing_stays_undecided() {
    let rows = listing(&[(1, 1, 10)]);
    let mut changed = Changed::default();
    changed.add(place(1));
    let mut comparison = Comparison::default();
    for round in 0..9 {
        comparison.judge(&Pass {
            at: Ktime(round * 1_000_000_000),
            before: &rows,
            kernel: &Listing::default(),
            after: &rows,
            changed: &changed,
        });
    }
    assert_eq!((comparison.wrong.len(), comparison.undecided()), (0, 1));
    assert_eq!(comparison.open_namespaces(), BTreeSet::from([7]));
    comparison.give_up(7);
    assert_eq!(comparison.undecided(), 0);
}

#[test]
fn a_flood_of_half_open_connections_can_be_left_out() {
    let mut rows = listing(&[(1, 3, 0), (1, 1, 5), (2, 3, 0), (3, 3, 9)]);
    assert_eq!(rows.without_half_open(), 2);
    assert_eq!(rows, listing(&[(1, 1, 5), (3, 3, 9)]));
    assert_eq!(rows.by_namespace(), BTreeMap::from([(7, 2)]));
    rows.retain(|netns| netns != 7);
    assert_eq!(rows, Listing::default());
}

#[test]
fn half_known_ends_are_found() {
    let end = |port| Endpoint {
        port,
        ..place(1).local
    };
    let told = |local, remote| {
        let mut changed = Changed::default();
        changed.add(Place::new(7, false, end(local), end(remote)));
        changed
    };
    assert!(told(0, 80).has(&place(1)), "before autobind");
    assert!(!told(0, 81).has(&place(1)));
    assert!(told(1, 0).has(&place(1)), "a child without its peer");
    assert!(!told(2, 0).has(&place(1)));
    let listener = Place::new(7, false, end(5), Endpoint::NONE);
    assert!(!told(0, 0).has(&listener), "in no list");
    assert!(Changed::everything().has(&listener));
}

/// What happens to a socket.
#[derive(Clone, Debug)]
enum Act {
    Born(u16, u8, u64),
    Moves(u16, u8),
    Dies(u16),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let port = 1u16..12;
    let act = prop_oneof![
        (port.clone(), 1u8..12, 0u64..3)
            .prop_map(|(port, state, inode)| Act::Born(port, state, inode)),
        (port.clone(), 1u8..12).prop_map(|(port, state)| Act::Moves(port, state)),
        port.prop_map(Act::Dies),
    ];
    prop::collection::vec(act, 0..200)
}

/// A world that a healthy table follows, read socket by socket.
#[derive(Default)]
struct World {
    rows: BTreeMap<u16, (u8, u64)>,
    /// As told, in turn.
    told: Vec<Place>,
}

impl World {
    fn act(&mut self, act: &Act) {
        match *act {
            Act::Born(port, state, inode) => {
                self.rows.insert(port, (state, inode));
                self.told.push(place(port));
            }
            Act::Moves(port, state) => {
                if let Some(row) = self.rows.get_mut(&port) {
                    row.0 = state;
                    self.told.push(place(port));
                }
            }
            Act::Dies(port) => {
                self.rows.remove(&port);
                self.told.push(place(port));
            }
        }
    }

    /// Reads port by port, with `step` in between, and without the ports that `hidden` names.
    fn read(&mut self, step: &mut impl FnMut(&mut Self), hidden: Option<u16>) -> Listing {
        let mut rows = Vec::new();
        for port in 1..12 {
            step(self);
            let row = self.rows.get(&port).filter(|_| hidden != Some(port));
            rows.extend(row.map(|(state, inode)| (port, *state, *inode)));
        }
        listing(&rows)
    }
}

/// The end of a comparison of a table that does not know `hidden`.
fn run(acts: &[Act], busy: usize, hidden: Option<u16>) -> Comparison {
    let mut world = World::default();
    let mut acts = acts.iter();
    acts.by_ref().take(20).for_each(|act| world.act(act));
    let mut turn = 0;
    let mut step = move |world: &mut World| {
        turn += 1;
        if turn % busy == 0
            && let Some(act) = acts.next()
        {
            world.act(act);
        }
    };
    let mut before = world.read(&mut step, hidden);
    world.told.clear();
    let mut comparison = Comparison::default();
    // Long enough for the acts to end, and as many passes in peace.
    for round in 0..40 {
        let kernel = world.read(&mut step, None);
        let after = world.read(&mut step, hidden);
        let mut changed = Changed::default();
        // A table that does not know a socket is told of it all the same: the worst case.
        world.told.drain(..).for_each(|place| changed.add(place));
        comparison.judge(&Pass {
            at: Ktime(round * 100_000_000),
            before: &before,
            kernel: &kernel,
            after: &after,
            changed: &changed,
        });
        before = after;
    }
    comparison
}

proptest! {
    #[test]
    fn a_healthy_table_is_never_accused(acts in acts(), busy in 1usize..9) {
        let comparison = run(&acts, busy, None);
        prop_assert_eq!(&comparison.wrong, &[]);
        prop_assert_eq!(comparison.vanished, 0);
    }

    #[test]
    fn what_is_decided_is_right_and_what_is_missing_is_found(acts in acts(), busy in 1usize..9, hidden in 1u16..12) {
        let comparison = run(&acts, busy, Some(hidden));
        for wrong in &comparison.wrong {
            prop_assert_eq!(wrong.place, place(hidden));
            prop_assert_eq!(wrong.fault, Fault::Missing);
        }
    }

    #[test]
    fn in_peace_every_hidden_row_is_found(rows in prop::collection::btree_map(1u16..30, (1u8..12, 0u64..9), 1..20), which: prop::sample::Index) {
        let rows: Vec<_> = rows.into_iter().map(|(port, (state, inode))| (port, state, inode)).collect();
        let hidden = which.index(rows.len());
        let mut table = rows.clone();
        table.remove(hidden);
        let comparison = still(&table, &rows);
        prop_assert_eq!(faults(&comparison), [Fault::Missing]);
        prop_assert_eq!(comparison.right as usize, table.len());
    }
}
