//! A change of state as bytes: what the agent tells those who follow its log.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

use crate::conn::types::{
    self, Conn, Direction, End, Endpoint, Kind, Ktime, Owner, Provenance, Side, SockId, Tally,
    TcpState, Tenure, Why,
};

/// A turn of the table: stands before all that it tells, and alone as a sign of life.
#[repr(C)]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
    Unaligned,
)]
pub struct Turn {
    /// `CLOCK_MONOTONIC` of the initial time namespace: the clock of all times here.
    pub ktime_ns: U64,
    /// The same moment, nanoseconds since 1970.
    pub wall_ns: U64,
    /// Socket events since the agent started.
    pub events: U64,
    /// Socket events lost since then; each loss was healed.
    pub lost: U64,
    /// Process events lost since then: names and owners may be wrong for a while.
    pub lost_processes: U64,
    /// Times that the table was compared with the kernel because of a loss.
    pub healings: U64,
    /// Events of half-open connections that a SYN flood kept out since the start.
    pub over_budget: U64,
    /// Changes that this client was not sent before this turn, since it did not take them in time.
    pub dropped: U64,
    /// Changes that no event told and others prove, since the start.
    pub gaps: U64,
}

/// A [`types::Change`]. The kernel's address of the socket stays with the agent.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
pub struct Change {
    /// When.
    pub at_ns: U64,
    /// Time in the state before.
    pub in_from_ns: U64,
    /// Age of the connection at its end.
    pub life_ns: U64,
    /// Payload bytes sent.
    pub sent: U64,
    /// Sequence space acknowledged.
    pub acked: U64,
    /// Payload bytes received.
    pub received: U64,
    /// Segments sent again.
    pub retransmits: U64,
    /// Local address, network order, IPv4 as v4-mapped.
    pub local: [u8; 16],
    /// Remote address.
    pub remote: [u8; 16],
    /// The owner's `comm`; zeros if it was not seen.
    pub comm: [u8; 16],
    /// Inode number of the network namespace.
    pub netns: U32,
    /// The owner's process id.
    pub pid: U32,
    /// The socket's error at its end.
    pub errno: U32,
    /// Local port.
    pub local_port: U16,
    /// Remote port.
    pub remote_port: U16,
    /// `AF_INET` or `AF_INET6`.
    pub family: U16,
    /// 1 full socket, 2 timewait, 3 request.
    pub kind: u8,
    /// State after.
    pub state: u8,
    /// State before, under [`FROM`].
    pub from: u8,
    /// 0 not known, 1 in, 2 out.
    pub direction: u8,
    /// 0 no owner, 1 seen, 2 listener, 3 seeded, 4 resolved.
    pub provenance: u8,
    /// 0 nobody or not known, 1 local, 2 remote.
    pub closed_by: u8,
    /// 0 not known, else as in `WHYS` from 1.
    pub why: u8,
    /// [`FROM`], [`END`], [`TALLY`], [`PAST`], [`INFERRED`].
    pub flags: u8,
    /// Zero.
    pub pad: [u8; 6],
}

const _: () = assert!(size_of::<Turn>() == 72);
const _: () = assert!(size_of::<Change>() == 136);

/// [`Change::flags`]: the state before is known.
pub const FROM: u8 = 1;
/// [`Change::flags`]: it is the end of the connection.
pub const END: u8 = 2;
/// [`Change::flags`]: the numbers of a full socket are there.
pub const TALLY: u8 = 4;

/// [`Change::flags`]: another process has the owner's id by now.
pub const PAST: u8 = 8;
/// [`Change::flags`]: no event told it, later ones prove it.
pub const INFERRED: u8 = 16;

/// A number that is not known.
const NONE: u64 = u64::MAX;

const KINDS: [Kind; 3] = [Kind::Full, Kind::TimeWait, Kind::Request];
const DIRECTIONS: [Direction; 2] = [Direction::In, Direction::Out];
const SIDES: [Side; 2] = [Side::Local, Side::Remote];
const PROVENANCES: [Provenance; 4] = [
    Provenance::Seen,
    Provenance::Listener,
    Provenance::Seeded,
    Provenance::Resolved,
];
const WHYS: [Why; 8] = [
    Why::Fin,
    Why::RstSent,
    Why::RstReceived,
    Why::Refused,
    Why::Timeout,
    Why::Unreachable,
    Why::Closed,
    Why::Error,
];

impl Change {
    /// Writes a change.
    #[must_use]
    pub fn of(change: &types::Change) -> Self {
        let types::Change {
            at,
            conn,
            from,
            in_from_ns,
            end,
            inferred,
        } = change;
        let owner = conn.owner;
        let tally = end.and_then(|end| end.tally);
        let numbers = tally.unwrap_or_default();
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        let wide = |number: Option<u64>| U64::new(number.unwrap_or(NONE));
        Self {
            at_ns: U64::new(at.0),
            in_from_ns: wide(*in_from_ns),
            life_ns: wide(end.and_then(|end| end.life_ns)),
            sent: wide(numbers.sent),
            acked: wide(numbers.acked),
            received: wide(numbers.received),
            retransmits: wide(numbers.retransmits),
            local: conn.local.addr,
            remote: conn.remote.addr,
            comm: owner.map_or([0; 16], |owner| owner.comm),
            netns: U32::new(conn.netns),
            pid: U32::new(owner.map_or(0, |owner| owner.pid)),
            errno: U32::new(numbers.errno),
            local_port: U16::new(conn.local.port),
            remote_port: U16::new(conn.remote.port),
            family: U16::new(conn.family),
            kind: number(&KINDS, Some(conn.kind)),
            state: conn.state.number(),
            from: from.map_or(0, TcpState::number),
            direction: number(&DIRECTIONS, conn.direction),
            provenance: number(&PROVENANCES, owner.map(|owner| owner.provenance)),
            closed_by: number(&SIDES, end.and_then(|end| end.closed_by)),
            why: number(&WHYS, end.and_then(|end| end.why)),
            flags: flag(from.is_some(), FROM)
                | flag(end.is_some(), END)
                | flag(tally.is_some(), TALLY)
                | flag(owner.is_some_and(|owner| owner.is_past()), PAST)
                | flag(*inferred, INFERRED),
            pad: [0; 6],
        }
    }

    /// Reads a change; `None` if a number is none of those above. The socket has no identity.
    #[must_use]
    pub fn read(&self) -> Option<types::Change> {
        let narrow = |number: U64| Some(number.get()).filter(|number| *number != NONE);
        let provenance = word(&PROVENANCES, self.provenance)?;
        let closed_by = word(&SIDES, self.closed_by)?;
        let why = word(&WHYS, self.why)?;
        let has = |flag: u8| self.flags & flag != 0;
        let tally = has(TALLY).then(|| Tally {
            sent: narrow(self.sent),
            acked: narrow(self.acked),
            received: narrow(self.received),
            retransmits: narrow(self.retransmits),
            errno: self.errno.get(),
        });
        let at = Ktime(self.at_ns.get());
        Some(types::Change {
            at,
            conn: Conn {
                id: SockId::Proc(0),
                kind: word(&KINDS, self.kind)??,
                netns: self.netns.get(),
                family: self.family.get(),
                local: Endpoint {
                    addr: self.local,
                    port: self.local_port.get(),
                },
                remote: Endpoint {
                    addr: self.remote,
                    port: self.remote_port.get(),
                },
                state: TcpState::from_kernel(self.state),
                since: Some(at),
                owner: provenance.map(|provenance| Owner {
                    pid: self.pid.get(),
                    comm: self.comm,
                    provenance,
                    tenure: if has(PAST) {
                        Tenure::PastAndNamed
                    } else {
                        Tenure::Current
                    },
                }),
                direction: word(&DIRECTIONS, self.direction)?,
            },
            from: has(FROM).then(|| TcpState::from_kernel(self.from)),
            in_from_ns: narrow(self.in_from_ns),
            end: has(END).then(|| End {
                life_ns: narrow(self.life_ns),
                closed_by,
                why,
                tally,
            }),
            inferred: has(INFERRED),
        })
    }
}

/// The number of a word, from 1; 0 for none.
fn number<T: PartialEq>(words: &[T], word: Option<T>) -> u8 {
    let at = word.and_then(|word| words.iter().position(|known| *known == word));
    at.map_or(0, |at| u8::try_from(at + 1).unwrap_or(0))
}

/// The word of a number, if it has one; `None` for a number that is too large.
fn word<T: Copy>(words: &[T], number: u8) -> Option<Option<T>> {
    match usize::from(number).checked_sub(1) {
        None => Some(None),
        Some(at) => words.get(at).copied().map(Some),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn option<T: std::fmt::Debug + Copy + 'static>(
        words: &'static [T],
    ) -> impl Strategy<Value = Option<T>> {
        prop::option::of(prop::sample::select(words))
    }

    fn end() -> impl Strategy<Value = End> {
        let known = || prop::option::of(0..u64::MAX);
        let tally = (known(), known(), known(), known(), any::<u32>());
        let tally = tally.prop_map(|(sent, acked, received, retransmits, errno)| Tally {
            sent,
            acked,
            received,
            retransmits,
            errno,
        });
        let parts = (
            known(),
            option(&SIDES),
            option(&WHYS),
            prop::option::of(tally),
        );
        parts.prop_map(|(life_ns, closed_by, why, tally)| End {
            life_ns,
            closed_by,
            why,
            tally,
        })
    }

    prop_compose! {
        fn change()(
            at: u64,
            kind in prop::sample::select(&KINDS[..]),
            (netns, family, local, remote) in any::<(u32, u16, ([u8; 16], u16), ([u8; 16], u16))>(),
            state in prop::sample::select(&TcpState::ALL[..]),
            from in option(&TcpState::ALL),
            in_from_ns in prop::option::of(0..u64::MAX),
            direction in option(&DIRECTIONS),
            provenance in option(&PROVENANCES),
            (pid, comm, past) in any::<(u32, [u8; 16], bool)>(),
            end in prop::option::of(end()),
            inferred: bool,
        ) -> types::Change {
            let endpoint = |(addr, port)| Endpoint { addr, port };
            types::Change {
                at: Ktime(at),
                conn: Conn {
                    id: SockId::Proc(0),
                    kind,
                    netns,
                    family,
                    local: endpoint(local),
                    remote: endpoint(remote),
                    state,
                    since: Some(Ktime(at)),
                    owner: provenance.map(|provenance| Owner {
                        pid,
                        comm,
                        provenance,
                        tenure: if past { Tenure::PastAndNamed } else { Tenure::Current },
                    }),
                    direction,
                },
                from,
                in_from_ns,
                end,
                inferred,
            }
        }
    }

    proptest! {
        #[test]
        fn a_change_survives_the_wire(change in change()) {
            prop_assert_eq!(Change::of(&change).read(), Some(change));
        }

        #[test]
        fn every_input_is_a_change_or_none(bytes in prop::collection::vec(any::<u8>(), 136)) {
            let wire = Change::read_from_bytes(&bytes).expect("136 bytes");
            if let Some(change) = wire.read() {
                prop_assert_eq!(Change::of(&change).read(), Some(change));
            }
        }

        /// Nearly right: one byte of a good change is another.
        #[test]
        fn a_damaged_change_is_another_or_none(change in change(), at in 0usize..136, byte: u8) {
            let mut bytes = Change::of(&change).as_bytes().to_vec();
            bytes[at] = byte;
            let wire = Change::read_from_bytes(&bytes).expect("136 bytes");
            if let Some(change) = wire.read() {
                prop_assert_eq!(Change::of(&change).read(), Some(change));
            }
        }
    }

    #[test]
    fn the_kernels_address_is_not_told() {
        let address = 0xffff_8881_2345_6789_u64;
        let conn = Conn {
            id: SockId::Kernel(address),
            kind: Kind::Full,
            netns: 1,
            family: 2,
            local: Endpoint::NONE,
            remote: Endpoint::NONE,
            state: TcpState::Listen,
            since: None,
            owner: None,
            direction: None,
        };
        let wire = Change::of(&types::Change {
            at: Ktime(1),
            conn,
            from: None,
            in_from_ns: None,
            end: None,
            inferred: false,
        });
        let bytes = wire.as_bytes();
        assert!(!bytes.windows(8).any(|part| part == address.to_le_bytes()));
    }
}
