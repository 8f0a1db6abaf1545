//! Names of owners by the inode of the socket.

use std::rc::Rc;

use rustc_hash::FxHashMap;

/// Names by inode; the first that is given for an inode stays.
///
/// A name is stored once. Where inodes stand close together, as those of one server do, each costs
/// four bytes beside it, and looking one up is one access to memory that fits into a cache of the
/// processor; a hash table of 100,000 entries does not.
#[derive(Clone, Debug, Default)]
pub struct ByInode {
    names: Vec<Rc<[u8]>>,
    /// By their first inode, none of which is in another.
    runs: Vec<Run>,
    /// Inodes that are in no run.
    others: FxHashMap<u64, u32>,
    len: usize,
}

/// Inodes that stand close together. Those of long ago stand far from those of now.
#[derive(Clone, Debug)]
struct Run {
    /// Inode of the first place.
    base: u64,
    /// Number of a name, from 1; 0 for none.
    places: Vec<u32>,
    /// How many have one.
    named: usize,
}

/// The most runs: each is looked through before the hash table is asked.
const RUNS: usize = 16;

/// A name that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameId(u32);

impl ByInode {
    /// Stores a name.
    pub fn name(&mut self, name: Rc<[u8]>) -> NameId {
        self.names.push(name);
        // There are as many as processes, which have 22 bits.
        NameId(self.names.len() as u32)
    }

    /// Names an inode, unless it has a name. Inodes that come in ascending order cost the least.
    pub fn insert(&mut self, inode: u64, NameId(name): NameId) {
        if self.contains(inode) {
            return;
        }
        match self.make_place(inode) {
            Some((run, place)) => {
                run.places[place] = name;
                run.named += 1;
            }
            None => {
                self.others.insert(inode, name);
            }
        }
        self.len += 1;
    }

    /// Whether an inode has a name.
    #[must_use]
    pub fn contains(&self, inode: u64) -> bool {
        self.number(inode) != 0
    }

    /// The name of an inode.
    #[must_use]
    pub fn get(&self, inode: u64) -> Option<&[u8]> {
        let number = self.number(inode) as usize;
        self.names.get(number.checked_sub(1)?).map(|name| &**name)
    }

    /// All inodes that have a name, with it.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        let places = self.runs.iter().flat_map(|run| {
            let places = run.places.iter().enumerate();
            places.map(|(place, number)| (run.base + place as u64, number))
        });
        let others = self.others.iter().map(|(inode, name)| (*inode, name));
        places.chain(others).filter_map(|(inode, number)| {
            let name = self.names.get((*number as usize).checked_sub(1)?)?;
            Some((inode, &**name))
        })
    }

    /// Whether no inode has a name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many runs begin at an inode or before it: the last of them may have it.
    #[inline]
    fn runs_until(&self, inode: u64) -> usize {
        match self.runs.last() {
            // Most are of now.
            Some(last) if last.base <= inode => self.runs.len(),
            _ => self.runs.partition_point(|run| run.base <= inode),
        }
    }

    /// The place of an inode, in a run that is made longer or begun for it; none where most of the
    /// places would stay free.
    fn make_place(&mut self, inode: u64) -> Option<(&mut Run, usize)> {
        const SPARSE: usize = 8;
        const SLACK: usize = 1024;
        let until = self.runs_until(inode);
        let before = until.checked_sub(1).and_then(|index| self.runs.get(index));
        let fits = before.is_some_and(|run| {
            let place = inode - run.base;
            place < (SPARSE * (run.named + SLACK)) as u64
        });
        let index = if fits {
            until - 1
        } else if self.runs.len() < RUNS {
            let run = Run {
                base: inode,
                places: Vec::new(),
                named: 0,
            };
            self.runs.insert(until, run);
            until
        } else {
            return None;
        };
        let run = self.runs.get_mut(index)?;
        let place = usize::try_from(inode - run.base).ok()?;
        if place >= run.places.len() {
            run.places.resize(place + 1, 0);
        }
        Some((run, place))
    }

    #[inline]
    fn number(&self, inode: u64) -> u32 {
        let before = self.runs_until(inode).checked_sub(1);
        let number = before.map_or(0, |index| {
            let run = &self.runs[index];
            let place = usize::try_from(inode - run.base).ok();
            place
                .and_then(|place| run.places.get(place).copied())
                .unwrap_or(0)
        });
        if number != 0 || self.others.is_empty() {
            return number;
        }
        self.others.get(&inode).copied().unwrap_or(0)
    }
}

impl FromIterator<(u64, Rc<[u8]>)> for ByInode {
    fn from_iter<I: IntoIterator<Item = (u64, Rc<[u8]>)>>(named: I) -> Self {
        let mut all = Self::default();
        for (inode, name) in named {
            let name = all.name(name);
            all.insert(inode, name);
        }
        all
    }
}

impl PartialEq for ByInode {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len
            && self
                .iter()
                .all(|(inode, name)| other.get(inode) == Some(name))
    }
}

impl Eq for ByInode {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map_that_keeps_the_first(
            given in prop::collection::vec((prop_oneof![0u64..60, 8_000u64..8_400, (0u64..40).prop_map(|nth| nth * 1_000_000)], 0u8..5), 0..60),
        ) {
            let mut all = ByInode::default();
            let mut model: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
            for (inode, name) in given {
                let id = all.name(Rc::from([name].as_slice()));
                all.insert(inode, id);
                model.entry(inode).or_insert_with(|| vec![name]);
            }
            prop_assert_eq!(all.is_empty(), model.is_empty());
            for inode in (0..120).chain(7_990..8_410) {
                prop_assert_eq!(all.get(inode), model.get(&inode).map(Vec::as_slice));
                prop_assert_eq!(all.contains(inode), model.contains_key(&inode));
            }
            let listed: BTreeMap<_, _> = all.iter().map(|(inode, name)| (inode, name.to_vec())).collect();
            prop_assert_eq!(&listed, &model);
            let rebuilt: ByInode = model.iter().map(|(inode, name)| (*inode, Rc::from(&**name))).collect();
            prop_assert_eq!(&rebuilt, &all);
        }
    }

    #[test]
    fn a_hostile_range_makes_no_room() {
        let mut all = ByInode::default();
        let name = all.name(Rc::from(b"x".as_slice()));
        for inode in [0, 7, u64::MAX, 1 << 40] {
            all.insert(inode, name);
        }
        let far: Vec<u64> = (1..100).map(|nth| nth << 50).collect();
        for inode in &far {
            all.insert(*inode, name);
        }
        let room: usize = all.runs.iter().map(|run| run.places.len()).sum();
        assert_eq!(room, 8 + RUNS - 1);
        assert_eq!(all.iter().count(), 4 + far.len());
        assert!(far.iter().all(|inode| all.contains(*inode)));
    }

    #[test]
    fn sockets_of_now_are_in_a_run_whatever_is_older() {
        let mut all = ByInode::default();
        let name = all.name(Rc::from(b"x".as_slice()));
        let now = 60_000_000..60_010_000;
        for inode in (12_000..12_100).chain(now.clone()) {
            all.insert(inode, name);
        }
        assert!(all.others.is_empty());
        assert_eq!(all.runs.len(), 2);
        assert!(now.into_iter().all(|inode| all.get(inode) == Some(b"x")));
    }
}
