//! Asking the agent: a connection, a question, an answer or the reason why there is none.

mod feed;

use std::{
    env,
    io::{self, ErrorKind},
    mem::{self, MaybeUninit},
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, net::UnixStream},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use zerocopy::FromBytes as _;

use crate::{
    agent::io::read_exact,
    clock,
    proto::{
        HEADER, Header,
        audit::{Answer, Changed},
        change::Turn,
        reply::{BadReply, Head, Holder, Refusal, Reply, Row},
        request::{Audit, Request, Wanted},
    },
};

pub use feed::{Feed, Told};

/// How long an agent may be silent: it gives a sign of life every 50 ms.
pub const PATIENCE: Duration = Duration::from_millis(200);

/// The most that is taken of an answer: 25 million rows.
const MOST: usize = 2 << 30;
/// What is said of an agent that does not keep to the protocol.
const NOT_ASKED: &str = "the agent says what was not asked";

/// Where the agent is: `NETSTAT_BPF_AGENT`, or the default.
#[must_use]
pub fn socket() -> PathBuf {
    env::var_os("NETSTAT_BPF_AGENT").map_or_else(|| crate::agent::SOCKET.into(), PathBuf::from)
}

/// An answer that is being read.
#[derive(Debug)]
pub struct Incoming {
    /// About it.
    pub head: Head,
    /// Closed once the answer is whole: it is not to stand in a list of Unix sockets that follows.
    talk: Option<Talk>,
    taken: usize,
    holders: u64,
    rows: u64,
    payload: Vec<u8>,
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Part<'a> {
    /// Sockets and who holds them; from part to part ascending by inode and process.
    Holders(&'a [Holder]),
    /// TCP over IPv4.
    Rows(&'a [Row]),
    /// TCP over IPv6.
    Rows6(&'a [Row]),
    /// Sockets of which events have told: of an audit.
    Changed(&'a [Changed]),
    /// What else an audit is told: JSON.
    Audit(Vec<u8>),
    /// The answer is whole, and both ends are closed.
    End,
}

/// Asks for a snapshot. Nothing of it counts before [`Part::End`].
///
/// # Errors
/// Why there is none: the client goes on alone.
pub fn snapshot(path: &Path, wanted: Wanted, patience: Duration) -> Result<Incoming, String> {
    ask(path, &Request::Snapshot(wanted), patience)
}

/// An answer that is whole.
#[derive(Debug)]
pub struct Whole {
    /// About it.
    pub head: Head,
    /// Sockets and who holds them.
    pub holders: Vec<Holder>,
    /// TCP over IPv4, and over IPv6.
    pub rows: [Vec<Row>; 2],
    /// Sockets of which events have told: of an audit.
    pub changed: Vec<Changed>,
    audit: Option<Vec<u8>>,
}

/// Asks for all that an audit compares.
///
/// # Errors
/// Why there is none.
pub fn audit(path: &Path, audit: Audit, patience: Duration) -> Result<(Whole, Answer), String> {
    let mut found = ask(path, &Request::Audit(audit), patience)?.whole()?;
    let answer = found.audit.take();
    let answer = answer.ok_or("the agent's answer to an audit is not whole")?;
    let answer = serde_json::from_slice(&answer);
    Ok((
        found,
        answer.map_err(|error| format!("the audit's answer: {error}"))?,
    ))
}

fn ask(path: &Path, request: &Request, patience: Duration) -> Result<Incoming, String> {
    let mut talk = Talk::begin(path, request, patience)?;
    loop {
        let (header, length) = talk.header()?;
        match talk.reply(&header, length)? {
            Said::Head(head) => {
                return Ok(Incoming {
                    head,
                    talk: Some(talk),
                    taken: 0,
                    holders: 0,
                    rows: 0,
                    payload: Vec::new(),
                });
            }
            Said::Progress => {}
            Said::End { .. } => return Err("the agent's answer has no beginning".to_owned()),
            Said::Status(_) | Said::Audit(_) | Said::Turn(_) => return Err(NOT_ASKED.to_owned()),
        }
    }
}

impl Incoming {
    /// Waits for all of it.
    ///
    /// # Errors
    /// Why it is not whole.
    pub fn whole(mut self) -> Result<Whole, String> {
        let mut found = Whole {
            head: self.head,
            holders: Vec::new(),
            rows: Default::default(),
            changed: Vec::new(),
            audit: None,
        };
        loop {
            match self.next_part()? {
                Part::Holders(holders) => found.holders.extend_from_slice(holders),
                Part::Rows(rows) => found.rows[0].extend_from_slice(rows),
                Part::Rows6(rows) => found.rows[1].extend_from_slice(rows),
                Part::Changed(changed) => found.changed.extend_from_slice(changed),
                Part::Audit(json) => found.audit = Some(json),
                Part::End => return Ok(found),
            }
        }
    }

    /// Waits for the next part.
    ///
    /// # Errors
    /// Why there will be none.
    pub fn next_part(&mut self) -> Result<Part<'_>, String> {
        loop {
            let Some(talk) = &mut self.talk else {
                return Ok(Part::End);
            };
            let (header, length) = talk.header()?;
            self.taken += length;
            if self.taken > MOST {
                return Err("the agent's answer does not end".to_owned());
            }
            let Some(bulk) = Bulk::of(&header) else {
                match talk.reply(&header, length)? {
                    Said::Progress => continue,
                    Said::End { holders, rows } => {
                        if (holders, rows) != (self.holders, self.rows) {
                            return Err("the agent's answer is not whole".to_owned());
                        }
                        talk.end()?;
                        self.talk = None;
                        return Ok(Part::End);
                    }
                    Said::Audit(json) => return Ok(Part::Audit(json)),
                    Said::Head(_) | Said::Status(_) | Said::Turn(_) => {
                        return Err(NOT_ASKED.to_owned());
                    }
                }
            };
            if length % bulk.item() != 0 {
                return Err(BadReply::Payload(header.kind.get()).to_string());
            }
            // Read to where it stays: the room is made once.
            if self.payload.len() < length {
                self.payload.resize(length, 0);
            }
            let payload = &mut self.payload[..length];
            talk.fill(payload)?;
            let count = (length / bulk.item()) as u64;
            let payload = &self.payload[..length];
            return Ok(match bulk {
                Bulk::Holders => {
                    self.holders += count;
                    Part::Holders(<[Holder]>::ref_from_bytes(payload).unwrap_or_default())
                }
                Bulk::Rows => {
                    self.rows += count;
                    Part::Rows(<[Row]>::ref_from_bytes(payload).unwrap_or_default())
                }
                Bulk::Rows6 => {
                    self.rows += count;
                    Part::Rows6(<[Row]>::ref_from_bytes(payload).unwrap_or_default())
                }
                Bulk::Changed => {
                    Part::Changed(<[Changed]>::ref_from_bytes(payload).unwrap_or_default())
                }
            });
        }
    }
}

/// Asks how the agent is: its JSON.
///
/// # Errors
/// Why it is not known.
pub fn status(path: &Path, patience: Duration) -> Result<Vec<u8>, String> {
    let mut talk = Talk::begin(path, &Request::Status, patience)?;
    loop {
        let (header, length) = talk.header()?;
        match talk.reply(&header, length)? {
            Said::Status(json) => return Ok(json),
            Said::Progress => {}
            Said::Head(_) | Said::End { .. } | Said::Audit(_) | Said::Turn(_) => {
                return Err(NOT_ASKED.to_owned());
            }
        }
    }
}

/// Messages of many items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bulk {
    Holders,
    Rows,
    Rows6,
    Changed,
}

impl Bulk {
    fn of(header: &Header) -> Option<Self> {
        [Self::Holders, Self::Rows, Self::Rows6, Self::Changed]
            .into_iter()
            .find(|bulk| bulk.kind() == header.kind)
    }

    fn kind(self) -> zerocopy::little_endian::U16 {
        let empty = match self {
            Self::Holders => Reply::Holders(&[]),
            Self::Rows => Reply::Rows(&[]),
            Self::Rows6 => Reply::Rows6(&[]),
            Self::Changed => Reply::Changed(&[]),
        };
        empty.parts().0.kind
    }

    fn item(self) -> usize {
        match self {
            Self::Holders => size_of::<Holder>(),
            Self::Rows | Self::Rows6 => size_of::<Row>(),
            Self::Changed => size_of::<Changed>(),
        }
    }
}

/// A message that is not bulk.
enum Said {
    Head(Head),
    Progress,
    End { holders: u64, rows: u64 },
    Status(Vec<u8>),
    Audit(Vec<u8>),
    Turn(Turn),
}

/// A connection on which the question has been asked.
#[derive(Debug)]
struct Talk {
    stream: UnixStream,
    patience: Duration,
}

impl Talk {
    fn begin(path: &Path, request: &Request, patience: Duration) -> Result<Self, String> {
        let stream = connect(path).map_err(|error| format!("connect: {error}"))?;
        let bytes = request.encode();
        // SAFETY: `bytes` is readable. A few bytes fit into a fresh socket at once.
        let sent = unsafe {
            libc::send(
                stream.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                libc::MSG_NOSIGNAL,
            )
        };
        if usize::try_from(sent) != Ok(bytes.len()) {
            return Err(format!("ask: {}", io::Error::last_os_error()));
        }
        let mut talk = Self { stream, patience };
        let (header, length) = talk.header()?;
        let mut payload = vec![0; length];
        talk.fill(&mut payload)?;
        match Reply::decode(&header, &payload) {
            Ok(Reply::Welcome) => Ok(talk),
            Ok(Reply::Refused(refusal, reason)) => Err(refused(refusal, reason)),
            Ok(_) => Err("what answers is not an agent".to_owned()),
            Err(bad) => Err(bad.to_string()),
        }
    }

    fn header(&mut self) -> Result<(Header, usize), String> {
        let mut header = [0; HEADER];
        self.fill(&mut header)?;
        let header = Header::parse(header);
        let length = Reply::expect(&header).map_err(|bad| bad.to_string())?;
        Ok((header, length))
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), String> {
        let by = clock::now() + self.patience;
        read_exact(&mut self.stream, buffer, by).map_err(|error| match error.kind() {
            ErrorKind::TimedOut => format!("no answer in {} ms", self.patience.as_millis()),
            ErrorKind::UnexpectedEof => "the agent has gone away".to_owned(),
            _ => format!("read: {error}"),
        })
    }

    fn reply(&mut self, header: &Header, length: usize) -> Result<Said, String> {
        let mut payload = vec![0; length];
        self.fill(&mut payload)?;
        match Reply::decode(header, &payload) {
            Ok(Reply::Head(head)) => Ok(Said::Head(head)),
            Ok(Reply::Progress) => Ok(Said::Progress),
            Ok(Reply::End(end)) => Ok(Said::End {
                holders: end.holders.get(),
                rows: end.rows.get(),
            }),
            Ok(Reply::Status(json)) => Ok(Said::Status(json.to_vec())),
            Ok(Reply::Audit(json)) => Ok(Said::Audit(json.to_vec())),
            Ok(Reply::Refused(refusal, reason)) => Err(refused(refusal, reason)),
            Ok(Reply::Turn(turn)) => Ok(Said::Turn(turn)),
            Ok(_) => Err("the agent speaks out of turn".to_owned()),
            Err(bad) => Err(bad.to_string()),
        }
    }

    /// Waits until the agent has closed its end: its socket is then no longer in the list of Unix
    /// sockets, which may be printed next.
    fn end(&mut self) -> Result<(), String> {
        match self.fill(&mut [0]) {
            Ok(()) => Err("the agent goes on after the end".to_owned()),
            Err(_) => Ok(()),
        }
    }
}

fn refused(refusal: Refusal, reason: &[u8]) -> String {
    let reason = String::from_utf8_lossy(reason);
    format!("refused ({refusal:?}): {}", reason.escape_debug())
}

/// A connection that is made at once or not at all: an agent that does not accept is one that
/// hangs.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let mut address = MaybeUninit::<libc::sockaddr_un>::zeroed();
    // SAFETY: all zeros is a `sockaddr_un`.
    let address = unsafe { address.assume_init_mut() };
    address.sun_family = libc::AF_UNIX as libc::sa_family_t;
    let bytes = path.as_os_str().as_bytes();
    // The last byte stays 0.
    if bytes.len() >= address.sun_path.len() {
        return Err(ErrorKind::InvalidInput.into());
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = from.cast_signed();
    }
    // SAFETY: no pointers; the new descriptor is ours.
    let fd = unsafe {
        libc::socket(
            libc::AF_UNIX,
            libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC,
            0,
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just opened.
    let socket = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: a whole `sockaddr_un`.
    let connected = unsafe {
        libc::connect(
            fd,
            std::ptr::from_ref(address).cast(),
            mem::size_of::<libc::sockaddr_un>() as libc::socklen_t,
        )
    };
    if connected < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(socket.into())
}
