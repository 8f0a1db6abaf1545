//! Events that no kernel sends.

use netstat_common::event::{KIND_REQ_CANCEL, KIND_STATE, SockEvent};
use proptest::prelude::*;
use zerocopy::FromBytes as _;

use super::{table::ConnTable, types::Ktime};

/// Any bytes, but of few sockets, so that they meet; the kind is mostly one that there is.
fn event() -> impl Strategy<Value = SockEvent> {
    let bytes = prop::collection::vec(any::<u8>(), size_of::<SockEvent>());
    let kind = prop_oneof![9 => KIND_STATE..=KIND_REQ_CANCEL, 1 => any::<u32>()];
    (bytes, kind, 0u64..6, 0u64..6, 0u32..2).prop_map(|(bytes, kind, skaddr, listener, netns)| {
        let event = SockEvent::read_from_bytes(&bytes);
        let mut event = event.unwrap_or_else(|error| panic!("as many bytes as an event: {error}"));
        (event.kind, event.skaddr, event.listener, event.netns) = (kind, skaddr, listener, netns);
        event
    })
}

proptest! {
    #[test]
    fn any_events_leave_a_table_no_larger_than_their_number(
        events in prop::collection::vec(event(), 0..60),
        ends in prop::collection::vec(any::<u64>(), 1..4),
    ) {
        let mut table = ConnTable::default();
        let mut changes = Vec::new();
        for (at, event) in events.iter().enumerate() {
            table.apply(event, &mut changes);
            prop_assert!(table.len() <= at + 1);
            table.check_invariants();
        }
        for end in ends {
            table.expire(Ktime(end), &mut changes);
            table.check_invariants();
        }
        // An event may end one connection and begin another.
        prop_assert!(changes.len() <= 3 * events.len(), "{} of {}", changes.len(), events.len());
    }
}
