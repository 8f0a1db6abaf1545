//! What an audit is told of the agent's table, beside its rows.

use serde::{Deserialize, Serialize};
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

use crate::conn::{
    compare::{Fault, Place},
    types::Endpoint,
};

/// `AF_INET` and `AF_INET6`.
const FAMILIES: (u16, u16) = (2, 10);

/// The most rows that an answer names one by one.
pub const NAMED: usize = 1000;

/// The ends of a socket of which an event told.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
pub struct Changed {
    /// Local address, network order, IPv4 as v4-mapped.
    pub saddr: [u8; 16],
    /// Remote address, network order, IPv4 as v4-mapped.
    pub daddr: [u8; 16],
    /// Inode number of the network namespace.
    pub netns: U32,
    /// Local port; 0 if it was not chosen yet.
    pub sport: U16,
    /// Remote port; 0 if it was not known yet.
    pub dport: U16,
    /// `AF_INET` (2) or `AF_INET6` (10).
    pub family: U16,
    /// Zero.
    pub pad: U16,
}

const _: () = assert!(size_of::<Changed>() == 44);

impl From<&Place> for Changed {
    fn from(place: &Place) -> Self {
        let family = if place.v6 { FAMILIES.1 } else { FAMILIES.0 };
        Self {
            saddr: place.local.addr,
            daddr: place.remote.addr,
            netns: U32::new(place.netns),
            sport: U16::new(place.local.port),
            dport: U16::new(place.remote.port),
            family: U16::new(family),
            pad: U16::ZERO,
        }
    }
}

impl Changed {
    /// As a comparison wants it.
    #[must_use]
    pub fn place(&self) -> Place {
        let end = |addr, port: U16| Endpoint {
            addr,
            port: port.get(),
        };
        Place::new(
            self.netns.get(),
            self.family.get() == FAMILIES.1,
            end(self.saddr, self.sport),
            end(self.daddr, self.dport),
        )
    }
}

/// The end of an answer, as JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The agent's process id.
    pub pid: u32,
    /// Where the next question goes on.
    pub mark: u64,
    /// Whether all that happened since the mark of the question was told.
    pub whole: bool,
    /// What cannot be believed now: `half-open connections` or `everything`.
    pub in_doubt: Option<String>,
    /// Since when nothing was missed, nanoseconds since 1970.
    pub exact_since_ns: u64,
    /// Events lost since the start.
    pub lost: u64,
    /// Times that the table was healed because of a loss.
    pub healings: u64,
    /// Rows that the agent's own checks have found wrong since its start.
    pub mismatches: u64,
    /// The comparison with the kernel's hash tables, if it was asked for.
    pub walked: Option<Walked>,
}

/// A comparison with the kernel's hash tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "docs/audit.md tells what each field means")]
pub struct Walked {
    pub rows: u64,
    pub missing: u64,
    pub extra: u64,
    pub state: u64,
    pub replaced: u64,
    pub undecided: u64,
    /// The first [`NAMED`] that were wrong.
    pub wrong: Vec<Row>,
}

impl Walked {
    /// Rows that were wrong.
    #[must_use]
    pub fn mismatches(&self) -> u64 {
        self.missing + self.extra + self.state + self.replaced
    }
}

/// A row that was wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "docs/audit.md tells what each field means")]
pub struct Row {
    pub fault: String,
    pub netns: u32,
    pub proto: String,
    pub local: String,
    pub remote: String,
    pub state: String,
    pub inode: Option<u64>,
}

impl Row {
    /// A row at a place; `inode` 0 is none.
    #[must_use]
    pub fn new(fault: Fault, place: &Place, state: &str, inode: u64) -> Self {
        let end = |end: &Endpoint| {
            let ip = match (end.is_any(), place.v6) {
                (true, true) => "::".to_owned(),
                (true, false) => "0.0.0.0".to_owned(),
                (false, _) => end.ip().to_string(),
            };
            format!("{ip}:{}", end.port)
        };
        Self {
            fault: fault.name().to_owned(),
            netns: place.netns,
            proto: if place.v6 { "tcp6" } else { "tcp" }.to_owned(),
            local: end(&place.local),
            remote: end(&place.remote),
            state: state.to_owned(),
            inode: (inode != 0).then_some(inode),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_place_survives_the_wire(bytes in prop::array::uniform32(any::<u8>()), netns: u32, v6: bool, sport: u16, dport: u16) {
            let (local, remote) = bytes.split_at(16);
            let end = |addr: &[u8], port| Endpoint { addr: addr.try_into().expect("16 bytes"), port };
            let place = Place::new(netns, v6, end(local, sport), end(remote, dport));
            prop_assert_eq!(Changed::from(&place).place(), place);
        }

        #[test]
        fn any_bytes_are_a_place(bytes in prop::collection::vec(any::<u8>(), 44)) {
            let changed = Changed::read_from_bytes(&bytes).expect("44 bytes");
            let place = changed.place();
            prop_assert_eq!(Changed::from(&place).place(), place);
        }

        #[test]
        fn any_text_is_an_answer_or_an_error(text: Vec<u8>) {
            if let Ok(answer) = serde_json::from_slice::<Answer>(&text) {
                let again = serde_json::to_vec(&answer).expect("JSON");
                prop_assert_eq!(serde_json::from_slice::<Answer>(&again).expect("its own"), answer);
            }
        }
    }

    #[test]
    fn a_row_is_told_in_words() {
        let place = Place::new(
            7,
            false,
            Endpoint {
                port: 80,
                ..Endpoint::NONE
            },
            Endpoint::NONE,
        );
        let row = Row::new(Fault::Missing, &place, "LISTEN", 5);
        assert_eq!(
            (row.local.as_str(), row.remote.as_str()),
            ("0.0.0.0:80", "0.0.0.0:0")
        );
        assert_eq!((row.fault.as_str(), row.inode), ("missing", Some(5)));
        let answer = Answer {
            walked: Some(Walked {
                wrong: vec![row],
                ..Walked::default()
            }),
            ..Answer::default()
        };
        let json = serde_json::to_vec(&answer).expect("JSON");
        assert_eq!(
            serde_json::from_slice::<Answer>(&json).expect("the same"),
            answer
        );
    }
}
