//! The entries of the table: found by their socket, and kept in a stable order.

use rustc_hash::FxHashMap;

use super::{table::Entry, types::SockId};

/// Entries in slots: one keeps its slot while its socket lives, and a hole is filled by the next.
///
/// Going through all of them reads memory from front to back, without a look-up for each. The keys
/// are kernel addresses, which nobody outside chooses: a fast hash is safe.
#[derive(Default)]
pub(super) struct Entries {
    slots: Vec<Option<Entry>>,
    places: FxHashMap<SockId, u32>,
    holes: Vec<u32>,
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(super) fn contains_key(&self, id: &SockId) -> bool {
        self.places.contains_key(id)
    }

    pub(super) fn get(&self, id: &SockId) -> Option<&Entry> {
        self.slots.get(*self.places.get(id)? as usize)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, id: &SockId) -> Option<&mut Entry> {
        self.slots.get_mut(*self.places.get(id)? as usize)?.as_mut()
    }

    /// All entries, in their order.
    pub(super) fn values(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().flatten()
    }

    /// As [`Entries::values`].
    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.slots.iter_mut().flatten()
    }

    /// Puts in an entry. The last hole is the place of the one that the caller has just taken out,
    /// if any; an entry under the same socket is replaced in its place.
    pub(super) fn insert(&mut self, entry: Entry) {
        let Self {
            slots,
            places,
            holes,
        } = self;
        let place = places
            .entry(entry.conn.id)
            .or_insert_with(|| holes.pop().unwrap_or(slots.len() as u32));
        let place = *place;
        match slots.get_mut(place as usize) {
            Some(slot) => *slot = Some(entry),
            None => slots.push(Some(entry)),
        }
    }

    pub(super) fn remove(&mut self, id: &SockId) -> Option<Entry> {
        let place = self.places.remove(id)?;
        let entry = self.slots.get_mut(place as usize)?.take();
        if self.places.is_empty() {
            // The order is nobody's any more, and the memory of a peak is given back.
            *self = Self::default();
        } else {
            self.holes.push(place);
        }
        entry
    }
}

#[cfg(test)]
impl Entries {
    /// Places, slots and holes tell the same.
    pub(super) fn check_invariants(&self) {
        for (id, place) in &self.places {
            let entry = self.slots[*place as usize].as_ref().expect("an entry");
            assert_eq!(entry.conn.id, *id);
        }
        for hole in &self.holes {
            assert!(self.slots[*hole as usize].is_none());
            assert_eq!(self.holes.iter().filter(|other| *other == hole).count(), 1);
        }
        assert_eq!(self.slots.len(), self.places.len() + self.holes.len());
    }
}

#[cfg(test)]
impl std::ops::Index<&SockId> for Entries {
    type Output = Entry;

    fn index(&self, id: &SockId) -> &Entry {
        self.get(id).expect("an entry")
    }
}
