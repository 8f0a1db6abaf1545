//! A table of sockets against the kernel's own list, while both change.
//!
//! Neither can be read at one moment. So the table is read before and after the list, with all that
//! its events told in between, and a pair of ends is judged only if nothing happened to it: the
//! others are looked at again. What differs must differ in the same way several times to count.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::types::{Conn, Endpoint, Ktime};

/// What was wrong with a row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The kernel has it, the table had not.
    Missing,
    /// The table had it, the kernel has not.
    Extra,
    /// It was in another state.
    State,
    /// The kernel has another socket in its place.
    Replaced,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Missing, Self::Extra, Self::State, Self::Replaced];

    /// The word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::State => "state",
            Self::Replaced => "replaced",
        }
    }
}

/// A pair of ends in a network namespace. Several sockets may share one: listeners do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Inode number of the network namespace.
    pub netns: u32,
    /// Whether the socket is one of IPv6.
    pub v6: bool,
    /// Its own end.
    pub local: Endpoint,
    /// The other.
    pub remote: Endpoint,
}

impl Place {
    /// A place in the form in which two are equal if they are the same.
    #[must_use]
    pub fn new(netns: u32, v6: bool, local: Endpoint, remote: Endpoint) -> Self {
        Self {
            netns,
            v6,
            local: plain(local),
            remote: plain(remote),
        }
    }

    /// Where a connection is.
    #[must_use]
    pub fn of(conn: &Conn) -> Self {
        const AF_INET6: u16 = 10;
        Self::new(conn.netns, conn.family == AF_INET6, conn.local, conn.remote)
    }
}

/// No address has one form, whatever the family.
fn plain(end: Endpoint) -> Endpoint {
    if end.is_any() {
        Endpoint {
            addr: Endpoint::NONE.addr,
            ..end
        }
    } else {
        end
    }
}

/// What is told of a socket in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct What {
    /// By the kernel's number, as /proc/net/tcp shows it.
    pub state: u8,
    /// Inode number; 0 where it has none.
    pub inode: u64,
}

impl What {
    /// `TCP_SYN_RECV` without an inode: a half-open connection, or one that nobody has accepted.
    fn may_be_half_open(&self) -> bool {
        self.state == 3 && self.inode == 0
    }
}

/// Sockets by their places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing(BTreeMap<Place, Vec<What>>);

impl Listing {
    /// Adds a socket.
    pub fn add(&mut self, place: Place, what: What) {
        let here = self.0.entry(place).or_default();
        let at = here.partition_point(|other| *other <= what);
        here.insert(at, what);
    }

    /// The sockets of some namespaces only.
    pub fn retain(&mut self, mut wanted: impl FnMut(u32) -> bool) {
        self.0.retain(|place, _| wanted(place.netns));
    }

    /// How many sockets each namespace has.
    #[must_use]
    pub fn by_namespace(&self) -> BTreeMap<u32, u64> {
        let mut counts = BTreeMap::new();
        for (place, here) in &self.0 {
            *counts.entry(place.netns).or_default() += here.len() as u64;
        }
        counts
    }

    /// Leaves half-open connections out, and tells how many there were.
    pub fn without_half_open(&mut self) -> u64 {
        let mut out = 0;
        for here in self.0.values_mut() {
            let before = here.len();
            here.retain(|what| !what.may_be_half_open());
            out += (before - here.len()) as u64;
        }
        self.0.retain(|_, here| !here.is_empty());
        out
    }

    /// The sockets in a place, ascending.
    #[must_use]
    pub fn at(&self, place: &Place) -> &[What] {
        self.0.get(place).map_or(&[], Vec::as_slice)
    }
}

/// Places to which something happened.
#[derive(Clone, Debug, Default)]
pub struct Changed {
    /// It is not known what happened.
    all: bool,
    places: HashSet<Place>,
    /// Events that came before the kernel had chosen the local port.
    by_remote: HashSet<(u32, Endpoint)>,
    /// Events that came before the kernel had filled in the peer (before Linux 6.18).
    by_port: HashSet<(u32, u16)>,
}

impl Changed {
    /// Anything may have happened.
    #[must_use]
    pub fn everything() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }

    /// Adds a place of which an event told.
    pub fn add(&mut self, place: Place) {
        match (place.local.port, place.remote.port) {
            // A socket that is in no list.
            (0, 0) => {}
            (0, _) => {
                self.by_remote.insert((place.netns, place.remote));
            }
            (port, 0) => {
                self.places.insert(place);
                self.by_port.insert((place.netns, port));
            }
            _ => {
                self.places.insert(place);
            }
        }
    }

    fn has(&self, place: &Place) -> bool {
        self.all
            || self.places.contains(place)
            || self.by_remote.contains(&(place.netns, place.remote))
            || self.by_port.contains(&(place.netns, place.local.port))
    }
}

/// How often a place must differ in the same way to count.
const TIMES: u32 = 3;
/// And for how long, nanoseconds: events may be late by as much as the host takes a processor away.
const LONG_NS: u64 = 250_000_000;

/// The table before the kernel's list was read, the list, the table after it.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// When the pass ended.
    pub at: Ktime,
    /// The table before.
    pub before: &'a Listing,
    /// The kernel's list.
    pub kernel: &'a Listing,
    /// The table after.
    pub after: &'a Listing,
    /// What was told from the first reading of the table to the second.
    pub changed: &'a Changed,
}

/// A row that was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// How.
    pub fault: Fault,
    /// Where.
    pub place: Place,
    /// As the kernel has it, or an extra one as the table had it.
    pub what: What,
}

/// A place that is not judged yet.
#[derive(Clone, Debug, Default)]
struct Open {
    /// How the two differed last, how often in turn, and since when.
    differs: Option<(Vec<What>, Vec<What>)>,
    times: u32,
    since: Ktime,
}

/// A comparison in passes.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    begun: bool,
    open: BTreeMap<Place, Open>,
    /// Rows that the table has as the kernel has them.
    pub right: u64,
    /// Rows that it has not so.
    pub wrong: Vec<Wrong>,
    /// Places that were not judged in the first pass.
    pub again: u64,
    /// Rows that the kernel listed and no event told of, and that were gone when they were looked
    /// at again: no proof of a fault, and none against it.
    pub vanished: u64,
}

impl Comparison {
    /// Judges what can be judged. The first pass tells which places there are to judge.
    pub fn judge(&mut self, pass: &Pass<'_>) {
        let places: BTreeSet<Place> = if self.begun {
            self.open.keys().copied().collect()
        } else {
            let all = [pass.before, pass.kernel, pass.after];
            let all = all.into_iter().flat_map(|listing| listing.0.keys());
            all.copied().collect()
        };
        let first = !std::mem::replace(&mut self.begun, true);
        for place in places {
            self.judge_place(place, pass);
            if first && self.open.contains_key(&place) {
                self.again += 1;
            }
        }
    }

    fn judge_place(&mut self, place: Place, pass: &Pass<'_>) {
        let (table, kernel) = (pass.after.at(&place), pass.kernel.at(&place));
        if pass.changed.has(&place) || pass.before.at(&place) != table {
            self.open.insert(place, Open::default());
            return;
        }
        let known = self.open.remove(&place).unwrap_or_default();
        if table == kernel {
            self.right += kernel.len() as u64;
            if let Some((_, listed)) = known.differs.filter(|_| kernel.is_empty()) {
                self.vanished += listed.len() as u64;
            }
            return;
        }
        let differs = (table.to_vec(), kernel.to_vec());
        let open = if known.differs.as_ref() == Some(&differs) {
            Open {
                times: known.times + 1,
                ..known
            }
        } else {
            Open {
                differs: Some(differs),
                times: 1,
                since: pass.at,
            }
        };
        if open.times >= TIMES && pass.at.since(open.since) >= LONG_NS {
            self.tell(place, table, kernel);
        } else {
            self.open.insert(place, open);
        }
    }

    /// Tells how a place is wrong.
    fn tell(&mut self, place: Place, table: &[What], kernel: &[What]) {
        let (mut extra, mut missing) = (without(table, kernel), without(kernel, table));
        self.right += (kernel.len() - missing.len()) as u64;
        let mut note = |fault, what| self.wrong.push(Wrong { fault, place, what });
        // The same socket in another state, then another socket, whatever its state.
        let same_socket = |one: &What, other: &What| one.inode == other.inode;
        let another = |_: &What, _: &What| true;
        for what in pair(&mut extra, &mut missing, same_socket) {
            note(Fault::State, what);
        }
        for what in pair(&mut extra, &mut missing, another) {
            note(Fault::Replaced, what);
        }
        missing
            .into_iter()
            .for_each(|what| note(Fault::Missing, what));
        extra.into_iter().for_each(|what| note(Fault::Extra, what));
    }

    /// The namespaces of the places that are not judged yet.
    #[must_use]
    pub fn open_namespaces(&self) -> BTreeSet<u32> {
        self.open.keys().map(|place| place.netns).collect()
    }

    /// How many places are not judged yet.
    #[must_use]
    pub fn undecided(&self) -> u64 {
        self.open.len() as u64
    }

    /// Gives the places of a namespace up, whose list can no longer be read.
    pub fn give_up(&mut self, netns: u32) {
        self.open.retain(|place, _| place.netns != netns);
    }
}

/// What the first has more of than the second.
fn without(these: &[What], those: &[What]) -> Vec<What> {
    let mut those = those.to_vec();
    let mut left = these.to_vec();
    left.retain(|what| match those.iter().position(|other| other == what) {
        Some(at) => {
            those.swap_remove(at);
            false
        }
        None => true,
    });
    left
}

/// Takes pairs out of both; gives their second halves.
fn pair(
    extra: &mut Vec<What>,
    missing: &mut Vec<What>,
    fits: impl Fn(&What, &What) -> bool,
) -> Vec<What> {
    let mut pairs = Vec::new();
    extra.retain(
        |one| match missing.iter().position(|other| fits(one, other)) {
            Some(at) => {
                pairs.push(missing.swap_remove(at));
                false
            }
            None => true,
        },
    );
    pairs
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
