//! Names of owners by the inode of the socket.

use std::rc::Rc;

use rustc_hash::FxHashMap;

/// Names by inode; the first that is given for an inode stays.
///
/// A name is stored once. Where the inodes stand close together, as those of one server do, each
/// costs four bytes beside it, and looking one up is one access to memory that fits into a
/// cache of the processor; a hash table of 100,000 entries does not.
#[derive(Clone, Debug, Default)]
pub struct ByInode {
    names: Vec<Rc<[u8]>>,
    /// Inode of the first place.
    base: u64,
    /// Number of a name, from 1; 0 for none.
    places: Vec<u32>,
    /// Inodes that have no place.
    others: FxHashMap<u64, u32>,
    len: usize,
}

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
        if self.len == 0 {
            self.base = inode;
        }
        if self.contains(inode) {
            return;
        }
        match self.place(inode).or_else(|| self.make_place(inode)) {
            Some(place) => self.places[place] = name,
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
        let places = (self.base..).zip(&self.places);
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

    fn place(&self, inode: u64) -> Option<usize> {
        let place = usize::try_from(inode.checked_sub(self.base)?).ok()?;
        (place < self.places.len()).then_some(place)
    }

    /// Makes places up to an inode's, unless most of them would stay free.
    fn make_place(&mut self, inode: u64) -> Option<usize> {
        const SPARSE: usize = 8;
        const SLACK: usize = 1024;
        let place = usize::try_from(inode.checked_sub(self.base)?).ok()?;
        if place >= SPARSE * (self.len + SLACK) {
            return None;
        }
        self.places.resize(place + 1, 0);
        Some(place)
    }

    #[inline]
    fn number(&self, inode: u64) -> u32 {
        let number = self.place(inode).map_or(0, |place| self.places[place]);
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
            given in prop::collection::vec((prop_oneof![0u64..60, 8_000u64..8_400], 0u8..5), 0..60),
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
        assert_eq!(all.places.len(), 8);
        assert_eq!(all.iter().count(), 4);
    }
}
