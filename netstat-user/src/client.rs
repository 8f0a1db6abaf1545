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
/// The most room that is made because the agent says so.
const ROOM: usize = 64 << 20;

/// Where the agent is: `NETSTAT_BPF_AGENT`, or the default.
#[must_use]
pub fn socket() -> PathBuf {
    env::var_os("NETSTAT_BPF_AGENT").map_or_else(|| crate::agent::SOCKET.into(), PathBuf::from)
}

/// A whole answer.
#[derive(Debug)]
pub struct Snapshot {
    /// About it.
    pub head: Head,
    holders: Vec<u8>,
    rows: Vec<u8>,
    rows6: Vec<u8>,
    changed: Vec<u8>,
    audit: Option<Answer>,
}

impl Snapshot {
    /// Sockets and who holds them, ascending by inode and process.
    #[must_use]
    pub fn holders(&self) -> &[Holder] {
        <[Holder]>::ref_from_bytes(&self.holders).unwrap_or_default()
    }

    /// TCP over IPv4, or IPv6.
    #[must_use]
    pub fn rows(&self, v6: bool) -> &[Row] {
        let bytes = if v6 { &self.rows6 } else { &self.rows };
        <[Row]>::ref_from_bytes(bytes).unwrap_or_default()
    }

    /// Sockets of which events have told: of an audit.
    #[must_use]
    pub fn changed(&self) -> &[Changed] {
        <[Changed]>::ref_from_bytes(&self.changed).unwrap_or_default()
    }
}

/// Asks for all that an audit compares.
///
/// # Errors
/// Why there is none.
pub fn audit(path: &Path, audit: Audit, patience: Duration) -> Result<(Snapshot, Answer), String> {
    let mut snapshot = ask_for_rows(path, &Request::Audit(audit), patience)?;
    let answer = snapshot.audit.take();
    let answer = answer.ok_or("the agent's answer to an audit is not whole")?;
    Ok((snapshot, answer))
}

/// Asks for a snapshot.
///
/// # Errors
/// Why there is none: the client goes on alone.
pub fn snapshot(path: &Path, wanted: Wanted, patience: Duration) -> Result<Snapshot, String> {
    ask_for_rows(path, &Request::Snapshot(wanted), patience)
}

fn ask_for_rows(path: &Path, request: &Request, patience: Duration) -> Result<Snapshot, String> {
    let mut talk = Talk::begin(path, request, patience)?;
    let mut found = None;
    let mut taken = 0;
    loop {
        let (header, length) = talk.header()?;
        taken += length;
        if taken > MOST {
            return Err("the agent's answer does not end".to_owned());
        }
        // What comes in bulk is read to where it stays.
        let (kind, bulk) = match (&mut found, Bulk::of(&header)) {
            (Some(snapshot), Some(bulk)) => (bulk, bulk.place(snapshot)),
            _ => match talk.reply(&header, length)? {
                Said::Head(head) if found.is_none() => {
                    found = Some(Snapshot::sized(head));
                    continue;
                }
                Said::Progress => continue,
                Said::Audit(json) => {
                    let snapshot = found
                        .as_mut()
                        .ok_or("the agent's answer has no beginning")?;
                    let answer = serde_json::from_slice(&json);
                    let answer = answer.map_err(|error| format!("the audit's answer: {error}"))?;
                    snapshot.audit = Some(answer);
                    continue;
                }
                Said::End { holders, rows } => {
                    let snapshot = found.ok_or("the agent's answer has no beginning")?;
                    let count = |bytes: &[u8], of: usize| (bytes.len() / of) as u64;
                    let whole = holders == count(&snapshot.holders, size_of::<Holder>())
                        && rows
                            == count(&snapshot.rows, size_of::<Row>())
                                + count(&snapshot.rows6, size_of::<Row>());
                    if !whole {
                        return Err("the agent's answer is not whole".to_owned());
                    }
                    talk.end()?;
                    return Ok(snapshot);
                }
                Said::Head(_) | Said::Status(_) | Said::Turn(_) => {
                    return Err("the agent says what was not asked".to_owned());
                }
            },
        };
        if length % kind.item() != 0 {
            return Err(BadReply::Payload(header.kind.get()).to_string());
        }
        let before = bulk.len();
        bulk.resize(before + length, 0);
        talk.fill(&mut bulk[before..])?;
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
                return Err("the agent says what was not asked".to_owned());
            }
        }
    }
}

impl Snapshot {
    fn sized(head: Head) -> Self {
        let room = |count: u32, of: usize| Vec::with_capacity((count as usize * of).min(ROOM));
        Self {
            head,
            holders: room(head.holders_hint.get(), size_of::<Holder>()),
            rows: room(head.rows_hint.get(), size_of::<Row>()),
            rows6: Vec::new(),
            changed: Vec::new(),
            audit: None,
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

    fn place(self, snapshot: &mut Snapshot) -> &mut Vec<u8> {
        match self {
            Self::Holders => &mut snapshot.holders,
            Self::Rows => &mut snapshot.rows,
            Self::Rows6 => &mut snapshot.rows6,
            Self::Changed => &mut snapshot.changed,
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
