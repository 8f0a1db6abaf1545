//! From the bytes of the ring to what is printed: whatever a record says, nothing panics, each change
//! is one line without a control byte, and each object of JSON is one.

use netstat_common::event::{
    DestroyEvent, EndEvent, KIND_DESTROY, KIND_END, KIND_EXIT, KIND_FORK, KIND_REQ_CANCEL,
    KIND_STATE, ProcEvent, SockEvent,
};
use proptest::prelude::*;
use time::UtcOffset;
use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::{
    conn::{
        table::ConnTable,
        types::{Change, Ktime},
    },
    kernel::record::{Record, decode},
    view::{
        journal,
        log::{Line, json, text},
    },
};

/// The size of each kind of record, so that most are taken.
fn size(kind: u32) -> usize {
    match kind {
        KIND_END => size_of::<EndEvent>(),
        KIND_FORK..=KIND_EXIT => size_of::<ProcEvent>(),
        KIND_DESTROY => size_of::<DestroyEvent>(),
        _ => size_of::<SockEvent>(),
    }
}

/// A record: a known kind about one of a few sockets and processes, else anything.
fn record() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop_oneof![12 => KIND_STATE..=KIND_REQ_CANCEL, 3 => Just(KIND_END), 2 => 0u32..40];
    let bytes = prop::collection::vec(any::<u8>(), 600);
    (kinds, bytes, 0u64..5, 0u8..13, 0u8..13, 0u32..4).prop_map(
        |(kind, mut bytes, skaddr, oldstate, newstate, tgid)| {
            bytes.truncate(size(kind));
            bytes[..4].copy_from_slice(&kind.to_ne_bytes());
            match SockEvent::read_from_bytes(&bytes) {
                Ok(event) if kind <= KIND_REQ_CANCEL => SockEvent {
                    skaddr,
                    oldstate,
                    newstate,
                    tgid,
                    ..event
                }
                .as_bytes()
                .to_vec(),
                _ => bytes,
            }
        },
    )
}

fn fold(records: &[Vec<u8>]) -> Vec<Change> {
    let (mut table, mut changes) = (ConnTable::default(), Vec::new());
    for bytes in records {
        // The ring hands out aligned records; a copy that is not is one that is refused.
        let aligned: Vec<u64> = bytes
            .chunks(8)
            .map(|chunk| {
                let mut word = [0; 8];
                word[..chunk.len()].copy_from_slice(chunk);
                u64::from_ne_bytes(word)
            })
            .collect();
        match decode(&aligned.as_bytes()[..bytes.len()]) {
            Some(Record::Sock(event)) => table.apply(&event, &mut changes),
            Some(Record::End(event)) => table.apply_end(&event),
            Some(Record::Proc(event)) => {
                table.id_is_used_again(event.tgid);
                table.name_past_owner(event.tgid, Some(b"\x1b[2Jname"));
                table.owner_may_have_changed(event.tgid);
            }
            Some(Record::Seed(skaddr)) => table.seed(skaddr % 5),
            Some(Record::Tables(_) | Record::Fds(_)) | None => {}
        }
    }
    table.expire(Ktime(u64::MAX), &mut changes);
    changes
}

proptest! {
    #[test]
    fn any_records_come_out_as_harmless_lines(
        records in prop::collection::vec(record(), 0..40),
        program in prop::collection::vec(any::<u8>(), 0..40),
        wall_ns: u64,
    ) {
        for change in &fold(&records) {
            let line = Line {
                change,
                wall_ns,
                offset: UtcOffset::UTC,
                own_netns: 1,
                program: &program,
            };
            let (mut plain, mut machine) = (Vec::new(), Vec::new());
            text(&mut plain, &line);
            json(&mut machine, &line);
            for bytes in [&plain, &machine] {
                let body = std::str::from_utf8(bytes).ok().and_then(|text| text.strip_suffix('\n'));
                let harmless = |body: &str| !body.chars().any(char::is_control);
                prop_assert!(body.is_some_and(harmless), "{:?}", String::from_utf8_lossy(bytes));
                prop_assert!(bytes.len() < 4096);
            }
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&machine).is_ok());
            prop_assert!(journal::entry(&line).len() < 8192);
        }
    }
}
