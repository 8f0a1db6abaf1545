//! What a client may ask. One question a connection: the agent answers it and closes.

use std::fmt;

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

use super::frame::{self, Header, VERSION};

/// [`Header::kind`] of a request for rows.
const SNAPSHOT: u16 = 1;
/// [`Header::kind`] of a request for the agent's own state.
const STATUS: u16 = 2;
/// [`Header::kind`] of a request for all rows and what has changed.
const AUDIT: u16 = 3;

/// The longest payload of a request.
pub const LONGEST: usize = 64;

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Rows and owners.
    Snapshot(Wanted),
    /// How the agent is: counters, hooks, cost.
    Status,
    /// All rows, and what has changed.
    Audit(Audit),
}

/// What an audit asks for: the rows of all network namespaces, always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audit {
    /// What the answer before said: the sockets of which events have told since then are wanted.
    pub mark: Option<u64>,
    /// The agent compares its table with the kernel's hash tables, too.
    pub walk: bool,
}

const WALK: u32 = 1;
const MARKED: u32 = 2;

/// The payload of an [`AUDIT`].
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct AuditWire {
    /// [`WALK`], [`MARKED`].
    flags: U32,
    /// Zero.
    pad: U32,
    /// 0 unless [`MARKED`].
    mark: U64,
}

/// What a snapshot is to hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// TCP over IPv4.
    pub tcp: bool,
    /// TCP over IPv6.
    pub tcp6: bool,
    /// Which processes hold which sockets, of all kinds.
    pub holders: bool,
    /// Timers and retransmissions: reading them costs the agent a quarter more. Zero without.
    pub timers: bool,
    /// Users, likewise.
    pub user: bool,
    /// Whose sockets.
    pub scope: Scope,
}

/// Network namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// The client's own.
    #[default]
    Own,
    /// The one with this inode number; needs `CAP_SYS_ADMIN`.
    Namespace(u32),
    /// All; needs `CAP_SYS_ADMIN`.
    All,
}

const TCP: u32 = 1;
const TCP6: u32 = 2;
const HOLDERS: u32 = 4;
const TIMERS: u32 = 8;
const USER: u32 = 16;

/// The payload of a [`SNAPSHOT`].
#[repr(C)]
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
struct SnapshotWire {
    /// [`TCP`], [`TCP6`], [`HOLDERS`], [`TIMERS`], [`USER`].
    wanted: U32,
    /// 0 own, 1 the one in `netns`, 2 all.
    scope: U16,
    /// Zero.
    pad: U16,
    /// Inode number of a network namespace; 0 unless `scope` is 1.
    netns: U32,
}

/// Why bytes are no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadRequest {
    /// Another version than [`VERSION`].
    Version(u16),
    /// A longer payload than [`LONGEST`].
    TooLong(usize),
    /// No such kind.
    Kind(u16),
    /// The payload is not what the kind says.
    Payload,
}

impl fmt::Display for BadRequest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(theirs) => {
                write!(
                    out,
                    "the client speaks version {theirs}, the agent {VERSION}"
                )
            }
            Self::TooLong(length) => {
                write!(out, "a request of {length} bytes; the most are {LONGEST}")
            }
            Self::Kind(kind) => write!(out, "no request has the number {kind}"),
            Self::Payload => write!(out, "the request is malformed"),
        }
    }
}

impl Request {
    /// The message, header and all.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let wanted = match self {
            Self::Status => return frame::message(STATUS, &[]),
            Self::Audit(audit) => {
                let bit = |on: bool, bit: u32| if on { bit } else { 0 };
                let payload = AuditWire {
                    flags: U32::new(bit(audit.walk, WALK) | bit(audit.mark.is_some(), MARKED)),
                    pad: U32::ZERO,
                    mark: U64::new(audit.mark.unwrap_or(0)),
                };
                return frame::message(AUDIT, payload.as_bytes());
            }
            Self::Snapshot(wanted) => wanted,
        };
        let bit = |on: bool, bit: u32| if on { bit } else { 0 };
        let (scope, netns) = match wanted.scope {
            Scope::Own => (0, 0),
            Scope::Namespace(inode) => (1, inode),
            Scope::All => (2, 0),
        };
        let payload = SnapshotWire {
            wanted: U32::new(
                bit(wanted.tcp, TCP)
                    | bit(wanted.tcp6, TCP6)
                    | bit(wanted.holders, HOLDERS)
                    | bit(wanted.timers, TIMERS)
                    | bit(wanted.user, USER),
            ),
            scope: U16::new(scope),
            pad: U16::ZERO,
            netns: U32::new(netns),
        };
        frame::message(SNAPSHOT, payload.as_bytes())
    }

    /// How long the payload of a request is, before any of it is read.
    ///
    /// # Errors
    /// Another version, or too long.
    pub fn expect(header: &Header) -> Result<usize, BadRequest> {
        if header.version.get() != VERSION {
            return Err(BadRequest::Version(header.version.get()));
        }
        let length = header.payload();
        if length > LONGEST {
            return Err(BadRequest::TooLong(length));
        }
        Ok(length)
    }

    /// Reads a request.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn decode(header: &Header, payload: &[u8]) -> Result<Self, BadRequest> {
        if Self::expect(header)? != payload.len() {
            return Err(BadRequest::Payload);
        }
        match header.kind.get() {
            SNAPSHOT => snapshot(payload).ok_or(BadRequest::Payload),
            AUDIT => audit(payload).ok_or(BadRequest::Payload),
            STATUS if payload.is_empty() => Ok(Self::Status),
            STATUS => Err(BadRequest::Payload),
            other => Err(BadRequest::Kind(other)),
        }
    }
}

fn audit(payload: &[u8]) -> Option<Request> {
    let wire = AuditWire::ref_from_bytes(payload).ok()?;
    let flags = wire.flags.get();
    if flags & !(WALK | MARKED) != 0 || wire.pad != U32::ZERO {
        return None;
    }
    let mark = match (flags & MARKED != 0, wire.mark.get()) {
        (true, mark) => Some(mark),
        (false, 0) => None,
        (false, _) => return None,
    };
    Some(Request::Audit(Audit {
        mark,
        walk: flags & WALK != 0,
    }))
}

fn snapshot(payload: &[u8]) -> Option<Request> {
    let wire = SnapshotWire::ref_from_bytes(payload).ok()?;
    let wanted = wire.wanted.get();
    if wanted & !(TCP | TCP6 | HOLDERS | TIMERS | USER) != 0 || wire.pad != U16::ZERO {
        return None;
    }
    let scope = match (wire.scope.get(), wire.netns.get()) {
        (0, 0) => Scope::Own,
        (1, inode) => Scope::Namespace(inode),
        (2, 0) => Scope::All,
        _ => return None,
    };
    Some(Request::Snapshot(Wanted {
        tcp: wanted & TCP != 0,
        tcp6: wanted & TCP6 != 0,
        holders: wanted & HOLDERS != 0,
        timers: wanted & TIMERS != 0,
        user: wanted & USER != 0,
        scope,
    }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::HEADER;
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Request, BadRequest> {
        let (header, payload) = bytes.split_at(HEADER);
        Request::decode(&Header::parse(header.try_into().expect("8 bytes")), payload)
    }

    fn scope() -> impl Strategy<Value = Scope> {
        prop_oneof![
            Just(Scope::Own),
            Just(Scope::All),
            any::<u32>().prop_map(Scope::Namespace)
        ]
    }

    proptest! {
        #[test]
        fn a_request_survives_the_wire(
            tcp: bool, tcp6: bool, holders: bool, timers: bool, user: bool, scope in scope(),
        ) {
            let request = Request::Snapshot(Wanted { tcp, tcp6, holders, timers, user, scope });
            prop_assert_eq!(decode(&request.encode()), Ok(request));
        }

        #[test]
        fn an_audit_survives_the_wire(mark: Option<u64>, walk: bool) {
            let request = Request::Audit(Audit { mark, walk });
            prop_assert_eq!(decode(&request.encode()), Ok(request));
        }

        #[test]
        fn a_damaged_audit_is_another_or_an_error(mark: Option<u64>, at in 0usize..24, byte: u8) {
            let mut bytes = Request::Audit(Audit { mark, walk: true }).encode();
            bytes[at] = byte;
            if let Ok(request) = decode(&bytes) {
                prop_assert_eq!(request.encode(), bytes);
            }
        }

        #[test]
        fn every_input_is_a_request_or_an_error(bytes in prop::collection::vec(any::<u8>(), HEADER..96)) {
            if let Ok(request) = decode(&bytes) {
                prop_assert_eq!(request.encode(), bytes);
            }
        }

        /// Nearly right: one byte of a good request is another.
        #[test]
        fn a_damaged_request_is_another_or_an_error(at in 0usize..20, byte: u8) {
            let mut bytes = Request::Snapshot(Wanted { tcp: true, ..Wanted::default() }).encode();
            bytes[at] = byte;
            if let Ok(request) = decode(&bytes) {
                prop_assert_eq!(request.encode(), bytes);
            }
        }
    }

    #[test]
    fn status_is_a_header_alone() {
        let bytes = Request::Status.encode();
        assert_eq!(bytes.len(), HEADER);
        assert_eq!(decode(&bytes), Ok(Request::Status));
    }

    #[test]
    fn a_request_that_is_too_long_or_of_another_version_is_known_by_its_header() {
        let long = Header::new(SNAPSHOT, LONGEST + 1);
        assert_eq!(Request::expect(&long), Err(BadRequest::TooLong(65)));
        let other = Header {
            version: U16::new(VERSION + 1),
            ..long
        };
        assert_eq!(
            Request::expect(&other),
            Err(BadRequest::Version(VERSION + 1))
        );
    }
}
