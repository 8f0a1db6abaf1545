//! What the agent answers.
//!
//! A snapshot is [`Reply::Welcome`], [`Reply::Head`], any number of [`Reply::Holders`] and
//! [`Reply::Rows`], and [`Reply::End`], which says how many there were. [`Reply::Progress`] may
//! stand between any two. Each answer may be [`Reply::Refused`] instead, at any point.

use std::fmt;

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

use crate::view::row::InetRow;

use super::{
    audit::Changed,
    frame::{self, Header, VERSION},
};

const WELCOME: u16 = 16;
const HEAD: u16 = 17;
const HOLDERS: u16 = 18;
const ROWS: u16 = 19;
const ROWS6: u16 = 20;
const END: u16 = 21;
const PROGRESS: u16 = 22;
const STATUS: u16 = 23;
/// The same in all versions, as the frame is.
const REFUSED: u16 = 24;
const CHANGED: u16 = 25;
const AUDIT: u16 = 26;

/// The longest payload of a reply.
pub const LONGEST: usize = 1 << 20;

/// A message of the agent.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply<'a> {
    /// The first words: it is an agent, and of our version.
    Welcome,
    /// What the snapshot is. The ring has been drained to where it was when the request came.
    Head(Head),
    /// Sockets and who holds them.
    Holders(&'a [Holder]),
    /// TCP over IPv4.
    Rows(&'a [Row]),
    /// TCP over IPv6.
    Rows6(&'a [Row]),
    /// There is no more.
    End(End),
    /// The agent is at work on it.
    Progress,
    /// The agent's state, as JSON.
    Status(&'a [u8]),
    /// Sockets of which events have told: of an audit.
    Changed(&'a [Changed]),
    /// An audit's [`Answer`](super::audit::Answer), as JSON.
    Audit(&'a [u8]),
    /// There will be no answer.
    Refused(Refusal, &'a [u8]),
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another version of the protocol.
    Version,
    /// Not a request, or too long.
    Request,
    /// Too many clients, or too much memory in answers under way.
    Busy,
    /// The client may not see that, or the agent cannot tell who it is.
    Rights,
    /// The agent failed.
    Failed,
    /// A number that this version does not know.
    Other(u32),
}

impl Refusal {
    const ALL: [Self; 5] = [
        Self::Version,
        Self::Request,
        Self::Busy,
        Self::Rights,
        Self::Failed,
    ];

    fn number(self) -> u32 {
        match self {
            Self::Version => 1,
            Self::Request => 2,
            Self::Busy => 3,
            Self::Rights => 4,
            Self::Failed => 5,
            Self::Other(number) => number,
        }
    }
}

/// About a snapshot.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
pub struct Head {
    /// `CLOCK_MONOTONIC` nanoseconds when the ring had been drained.
    pub ktime_ns: U64,
    /// Since when no event was lost, on that clock; 0 if it is not known.
    pub exact_since_ns: U64,
    /// Events lost since the agent started; each loss was healed.
    pub lost: U64,
    /// Inode number of the network namespace; 0 for all.
    pub netns: U32,
    /// [`SEES_HOLDERS`].
    pub flags: U32,
    /// About how many rows there will be: room to make, nothing to rely on.
    pub rows_hint: U32,
    /// About how many holders there will be.
    pub holders_hint: U32,
}

/// [`Head::flags`]: the client may see all holders. Without it there are none in the answer, and
/// the client reads the owners that it may see from its own /proc.
pub const SEES_HOLDERS: u32 = 1;

/// A socket in a descriptor table of a process's main thread.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
pub struct Holder {
    /// Inode number of the socket, of any kind and any network namespace.
    pub inode: U64,
    /// Process id, in the PID namespace that agent and client share.
    pub pid: U32,
    /// Zero.
    pub pad: U32,
}

/// A TCP socket.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
pub struct Row {
    /// Inode number of the socket; 0 where it has none.
    pub inode: U64,
    /// Socket cookie; 0 if the kernel has made none.
    pub cookie: U64,
    /// Local address, network order, IPv4 as v4-mapped.
    pub saddr: [u8; 16],
    /// Remote address, network order, IPv4 as v4-mapped.
    pub daddr: [u8; 16],
    /// User id in the initial user namespace.
    pub uid: U32,
    /// Recv-Q in bytes; accept-queue length of a listener.
    pub rx_queue: U32,
    /// Send-Q in bytes.
    pub tx_queue: U32,
    /// Time until the timer fires, in hundredths of a second.
    pub timer_ticks: U32,
    /// Inode number of the network namespace.
    pub netns: U32,
    /// Local port.
    pub sport: U16,
    /// Remote port.
    pub dport: U16,
    /// State by the kernel's number as /proc/net/tcp shows it.
    pub state: u8,
    /// Timer kind: 0 off, 1 on, 2 keepalive, 3 timewait, 4 probe.
    pub timer: u8,
    /// Unrecovered retransmissions.
    pub retransmits: u8,
    /// Unanswered probes.
    pub probes: u8,
    /// 1 a full socket, 2 a timewait minisock, 3 a request socket.
    pub kind: u8,
    /// Zero.
    pub pad: [u8; 3],
}

const _: () = assert!(size_of::<Row>() == 80);

impl Row {
    /// As the renderer wants it.
    #[must_use]
    pub fn inet(&self, v6: bool) -> InetRow {
        let address = |bytes: [u8; 16]| {
            let [.., a, b, c, d] = bytes;
            if v6 {
                std::net::IpAddr::from(bytes)
            } else {
                std::net::IpAddr::from([a, b, c, d])
            }
        };
        InetRow {
            local: address(self.saddr),
            local_port: self.sport.get().into(),
            remote: address(self.daddr),
            remote_port: self.dport.get().into(),
            state: self.state.into(),
            tx_queue: self.tx_queue.get().into(),
            rx_queue: self.rx_queue.get().into(),
            timer: self.timer.into(),
            timer_ticks: self.timer_ticks.get().into(),
            retransmits: self.retransmits.into(),
            uid: self.uid.get().cast_signed(),
            probes: self.probes.into(),
            inode: self.inode.get(),
        }
    }
}

/// How much there was: an answer without it, or with other numbers, is not whole.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
pub struct End {
    /// [`Holder`]s sent.
    pub holders: U64,
    /// [`Row`]s sent, of both families.
    pub rows: U64,
}

/// Why bytes are no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadReply {
    /// Another version than [`VERSION`].
    Version(u16),
    /// A longer payload than [`LONGEST`].
    TooLong(usize),
    /// No such kind, or not its payload.
    Payload(u16),
}

impl fmt::Display for BadReply {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(theirs) => {
                write!(
                    out,
                    "the agent speaks version {theirs}, this program {VERSION}"
                )
            }
            Self::TooLong(length) => {
                write!(
                    out,
                    "the agent sent a message of {length} bytes; the most are {LONGEST}"
                )
            }
            Self::Payload(kind) => {
                write!(out, "the agent sent a malformed message of the kind {kind}")
            }
        }
    }
}

impl Reply<'_> {
    /// Kind and payload. What is sent in bulk is borrowed, not copied.
    #[must_use]
    pub fn parts(&self) -> (Header, Payload<'_>) {
        let (kind, payload) = match self {
            Self::Welcome => (WELCOME, Payload::Borrowed(&[])),
            Self::Head(head) => (HEAD, Payload::Borrowed(head.as_bytes())),
            Self::Holders(holders) => (HOLDERS, Payload::Borrowed(holders.as_bytes())),
            Self::Rows(rows) => (ROWS, Payload::Borrowed(rows.as_bytes())),
            Self::Rows6(rows) => (ROWS6, Payload::Borrowed(rows.as_bytes())),
            Self::End(end) => (END, Payload::Borrowed(end.as_bytes())),
            Self::Progress => (PROGRESS, Payload::Borrowed(&[])),
            Self::Status(json) => (STATUS, Payload::Borrowed(json)),
            Self::Changed(changed) => (CHANGED, Payload::Borrowed(changed.as_bytes())),
            Self::Audit(json) => (AUDIT, Payload::Borrowed(json)),
            Self::Refused(refusal, text) => {
                let mut payload = refusal.number().to_le_bytes().to_vec();
                payload.extend_from_slice(text);
                (REFUSED, Payload::Owned(payload))
            }
        };
        (Header::new(kind, payload.as_ref().len()), payload)
    }

    /// The whole message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (header, payload) = self.parts();
        frame::message(header.kind.get(), payload.as_ref())
    }
}

/// Bytes after a header.
#[derive(Clone, Debug)]
pub enum Payload<'a> {
    /// Of the message's own memory.
    Borrowed(&'a [u8]),
    /// Put together.
    Owned(Vec<u8>),
}

impl AsRef<[u8]> for Payload<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

impl<'a> Reply<'a> {
    /// How long the payload is, before any of it is read.
    ///
    /// # Errors
    /// Another version (a refusal has none), or too long.
    pub fn expect(header: &Header) -> Result<usize, BadReply> {
        if header.version.get() != VERSION && header.kind.get() != REFUSED {
            return Err(BadReply::Version(header.version.get()));
        }
        let length = header.payload();
        if length > LONGEST {
            return Err(BadReply::TooLong(length));
        }
        Ok(length)
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn decode(header: &Header, payload: &'a [u8]) -> Result<Self, BadReply> {
        let kind = header.kind.get();
        let bad = BadReply::Payload(kind);
        if Self::expect(header)? != payload.len() {
            return Err(bad);
        }
        let empty = |reply| {
            if payload.is_empty() {
                Ok(reply)
            } else {
                Err(bad)
            }
        };
        match kind {
            WELCOME => empty(Reply::Welcome),
            PROGRESS => empty(Reply::Progress),
            HEAD => Head::read_from_bytes(payload)
                .map(Reply::Head)
                .map_err(|_| bad),
            END => End::read_from_bytes(payload)
                .map(Reply::End)
                .map_err(|_| bad),
            HOLDERS => <[Holder]>::ref_from_bytes(payload)
                .map(Reply::Holders)
                .map_err(|_| bad),
            ROWS => <[Row]>::ref_from_bytes(payload)
                .map(Reply::Rows)
                .map_err(|_| bad),
            ROWS6 => <[Row]>::ref_from_bytes(payload)
                .map(Reply::Rows6)
                .map_err(|_| bad),
            STATUS => Ok(Reply::Status(payload)),
            CHANGED => <[Changed]>::ref_from_bytes(payload)
                .map(Reply::Changed)
                .map_err(|_| bad),
            AUDIT => Ok(Reply::Audit(payload)),
            REFUSED => {
                let (number, text) = U32::read_from_prefix(payload).map_err(|_| bad)?;
                let known = Refusal::ALL
                    .into_iter()
                    .find(|known| known.number() == number.get());
                Ok(Reply::Refused(
                    known.unwrap_or(Refusal::Other(number.get())),
                    text,
                ))
            }
            _ => Err(bad),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frame::HEADER;
    use super::*;

    fn decode(bytes: &[u8]) -> Result<Reply<'_>, BadReply> {
        let (header, payload) = bytes.split_at(HEADER);
        Reply::decode(&Header::parse(header.try_into().expect("8 bytes")), payload)
    }

    proptest! {
        #[test]
        fn every_input_is_a_reply_or_an_error(
            kind in 10u16..30,
            payload in prop::collection::vec(any::<u8>(), 0..400),
        ) {
            let bytes = frame::message(kind, &payload);
            if let Ok(reply) = decode(&bytes) {
                prop_assert_eq!(reply.encode(), bytes);
            }
        }

        #[test]
        fn rows_survive_the_wire(bytes in prop::array::uniform32(any::<u8>()), count in 0usize..5, v6: bool) {
            let mut wire = vec![0u8; 80 * count];
            for (slot, byte) in wire.iter_mut().zip(bytes.iter().cycle()) {
                *slot = *byte;
            }
            let rows = <[Row]>::ref_from_bytes(&wire).expect("whole rows");
            let sent = if v6 { Reply::Rows6(rows) } else { Reply::Rows(rows) };
            let message = sent.encode();
            prop_assert_eq!(decode(&message), Ok(sent));
        }
    }

    #[test]
    fn a_refusal_is_understood_from_every_version() {
        let mut bytes = Reply::Refused(Refusal::Version, b"too old").encode();
        bytes[6..8].copy_from_slice(&9u16.to_le_bytes());
        assert_eq!(
            decode(&bytes),
            Ok(Reply::Refused(Refusal::Version, b"too old"))
        );
        let mut bytes = Reply::Welcome.encode();
        bytes[6..8].copy_from_slice(&9u16.to_le_bytes());
        assert_eq!(decode(&bytes), Err(BadReply::Version(9)));
    }

    #[test]
    fn a_reply_that_is_too_long_is_known_by_its_header() {
        let header = Header::new(ROWS, LONGEST + 1);
        assert_eq!(Reply::expect(&header), Err(BadReply::TooLong(LONGEST + 1)));
    }

    #[test]
    fn a_row_becomes_what_the_renderer_wants() {
        let mut bytes = [0u8; 80];
        bytes[16..32].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 127, 0, 0, 1]);
        bytes[68..70].copy_from_slice(&8080u16.to_le_bytes());
        bytes[72] = 10;
        let row = Row::read_from_bytes(&bytes).expect("80 bytes");
        let inet = row.inet(false);
        assert_eq!(inet.local.to_string(), "127.0.0.1");
        assert_eq!((inet.local_port, inet.state), (8080, 10));
        assert_eq!(row.inet(true).local.to_string(), "::ffff:127.0.0.1");
    }
}
