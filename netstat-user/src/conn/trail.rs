//! Which sockets events have told of: what a comparison must look at again.

use std::collections::VecDeque;

use netstat_common::event::SockEvent;
use rustc_hash::FxHashSet;

use super::{
    compare::Place,
    table::{ConnTable, conn_of_event},
    types::{Kind, SockId},
};

/// The most places that are kept, some 15 MB.
const MOST: usize = 1 << 18;

/// Nothing is noted unless somebody has asked for it.
#[derive(Default)]
pub struct Trail {
    /// Sockets of events since [`Trail::fence`].
    sockets: Option<FxHashSet<u64>>,
    places: Option<VecDeque<Place>>,
    /// The number of the first place that is kept.
    first: u64,
}

impl Trail {
    /// Notes whom an event is about, before and after the table has taken it in.
    pub fn note(&mut self, event: &SockEvent, table: &ConnTable) {
        if let Some(sockets) = &mut self.sockets {
            sockets.insert(event.skaddr);
        }
        let Some(places) = &mut self.places else {
            return;
        };
        let id = SockId::Kernel(event.skaddr);
        let told = Place::of(&conn_of_event(id, Kind::Full, event));
        let known = table.get(id).map(Place::of);
        for place in [Some(told), known].into_iter().flatten() {
            if places.back() != Some(&place) {
                places.push_back(place);
            }
        }
        while places.len() > MOST {
            places.pop_front();
            self.first += 1;
        }
    }

    /// Begins to note sockets.
    pub fn fence(&mut self) {
        self.sockets = Some(FxHashSet::default());
    }

    /// Ends it, and gives the sockets.
    pub fn lift_fence(&mut self) -> FxHashSet<u64> {
        self.sockets.take().unwrap_or_default()
    }

    /// Notes places from now on, if it did not yet.
    pub fn begin(&mut self) {
        self.places.get_or_insert_default();
    }

    /// Ends it and forgets them. Numbers go on.
    pub fn end(&mut self) {
        self.first = self.mark();
        self.places = None;
    }

    /// The number of the next place.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.first + self.places.as_ref().map_or(0, |places| places.len() as u64)
    }

    /// The places from a number on; `None` if they are not all kept.
    #[must_use]
    pub fn since(&self, mark: u64) -> Option<Vec<Place>> {
        let places = self.places.as_ref()?;
        let skipped = usize::try_from(mark.checked_sub(self.first)?).ok()?;
        (skipped <= places.len()).then(|| places.range(skipped..).copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use netstat_common::event::KIND_STATE;
    use zerocopy::FromZeros as _;

    use super::*;

    fn event(port: u16) -> SockEvent {
        SockEvent {
            kind: KIND_STATE,
            skaddr: u64::from(port),
            sport: port,
            ..SockEvent::new_zeroed()
        }
    }

    #[test]
    fn places_are_kept_from_a_mark_on() {
        let (mut trail, table) = (Trail::default(), ConnTable::default());
        trail.note(&event(1), &table);
        assert_eq!(trail.since(trail.mark()), None, "nobody has asked");
        trail.begin();
        let mark = trail.mark();
        trail.note(&event(2), &table);
        let ports = |places: Vec<Place>| places.iter().map(|p| p.local.port).collect::<Vec<_>>();
        assert_eq!(trail.since(mark).map(ports), Some(vec![2]));
        trail.note(&event(3), &table);
        trail.note(&event(3), &table);
        assert_eq!(trail.since(mark).map(ports), Some(vec![2, 3]));
        assert_eq!(trail.since(trail.mark()).map(ports), Some(vec![]));
        assert_eq!(trail.since(trail.mark() + 1), None, "of another life");
        trail.end();
        trail.begin();
        assert_eq!(trail.since(mark), None, "forgotten");
        assert_eq!(trail.since(trail.mark()).map(ports), Some(vec![]));
    }

    #[test]
    fn what_does_not_fit_is_known_to_be_missing() {
        let (mut trail, table) = (Trail::default(), ConnTable::default());
        trail.begin();
        let mark = trail.mark();
        let rounds = MOST as u64 + 10;
        (0..rounds).for_each(|number| trail.note(&event((number % 60_000) as u16 + 1), &table));
        assert_eq!(trail.since(mark), None);
        let kept = trail.since(mark + 10).expect("these are kept");
        assert_eq!(kept.len(), MOST);
    }

    #[test]
    fn sockets_are_noted_behind_the_fence_only() {
        let (mut trail, table) = (Trail::default(), ConnTable::default());
        trail.note(&event(1), &table);
        trail.fence();
        trail.note(&event(2), &table);
        assert_eq!(trail.lift_fence().into_iter().collect::<Vec<_>>(), [2]);
        trail.note(&event(3), &table);
        assert!(trail.lift_fence().is_empty());
    }
}
