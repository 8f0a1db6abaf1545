//! Bytes of the ring to records. Total: every input is a record or `None`.

use netstat_common::event::{
    DestroyEvent, EndEvent, FdChunk, KIND_DESTROY, KIND_END, KIND_EXEC, KIND_EXIT, KIND_FDS,
    KIND_FORK, KIND_REQ_CANCEL, KIND_REQ_START, KIND_SEED, KIND_STATE, KIND_TABLES, KIND_TW_CANCEL,
    KIND_TW_START, ProcEvent, SeedRecord, SockEvent, TablesRecord,
};
use zerocopy::{FromBytes, FromZeros as _};

/// A record of the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// Something happened to a socket.
    Sock(SockEvent),
    /// What a socket has done.
    End(EndEvent),
    /// Something happened to a process.
    Proc(ProcEvent),
    /// An iterator found a socket.
    Seed(u64),
    /// Hash tables of one or more namespaces.
    Tables(TablesRecord),
    /// Part of a descriptor table.
    Fds(&'a FdChunk),
}

/// Decodes one record; `None` for an unknown kind, a wrong length or wrong alignment.
pub fn decode(bytes: &[u8]) -> Option<Record<'_>> {
    let (kind, _) = u32::read_from_prefix(bytes).ok()?;
    match kind {
        KIND_STATE | KIND_TW_START | KIND_TW_CANCEL | KIND_REQ_START | KIND_REQ_CANCEL => {
            SockEvent::read_from_bytes(bytes).ok().map(Record::Sock)
        }
        KIND_DESTROY => DestroyEvent::read_from_bytes(bytes)
            .ok()
            .map(|event| Record::Sock(destroyed(event))),
        KIND_END => EndEvent::read_from_bytes(bytes).ok().map(Record::End),
        KIND_FORK | KIND_EXEC | KIND_EXIT => {
            ProcEvent::read_from_bytes(bytes).ok().map(Record::Proc)
        }
        KIND_SEED => SeedRecord::read_from_bytes(bytes)
            .ok()
            .map(|seed| Record::Seed(seed.skaddr)),
        KIND_TABLES => TablesRecord::read_from_bytes(bytes)
            .ok()
            .map(Record::Tables),
        KIND_FDS => FdChunk::ref_from_bytes(bytes).ok().map(Record::Fds),
        _ => None,
    }
}

/// The event with nothing but what a destroyed socket tells.
fn destroyed(event: DestroyEvent) -> SockEvent {
    SockEvent {
        kind: KIND_DESTROY,
        ktime_ns: event.ktime_ns,
        skaddr: event.skaddr,
        ..SockEvent::new_zeroed()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::IntoBytes as _;

    use super::*;

    proptest! {
        #[test]
        fn every_input_is_a_record_or_none(kind in 0u32..50, tail in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut bytes = kind.to_ne_bytes().to_vec();
            bytes.extend(tail);
            let long = match kind {
                2 => 24,
                1..=6 => 96,
                16..=18 => 24,
                32 => 16,
                33 => 520,
                34 => 32,
                48 => 64,
                _ => usize::MAX,
            };
            if bytes.len() != long {
                prop_assert_eq!(decode(&bytes), None);
            }
        }

        #[test]
        fn a_socket_event_survives_the_wire(bytes in prop::array::uniform32(any::<u8>()), kind in prop::sample::select(vec![1u32, 3, 4, 5, 6])) {
            let mut wire = [0u8; 96];
            for (slot, byte) in wire.iter_mut().zip(bytes.iter().cycle()) {
                *slot = *byte;
            }
            wire[..4].copy_from_slice(&kind.to_ne_bytes());
            match decode(&wire) {
                Some(Record::Sock(event)) => prop_assert_eq!(event.as_bytes(), &wire[..]),
                other => prop_assert!(false, "{other:?}"),
            }
        }
    }
}
