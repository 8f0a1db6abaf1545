//! Where rows come from: the seam between the renderer and the world.
//!
//! One renderer prints from a [`SocketSource`]: /proc, the live table, an agent.

use std::{fs::File, io, path::Path, rc::Rc, time::Duration};

use rustc_hash::FxHashMap;

use crate::view::row::{InetRow, UnixRow};

/// The tables of Internet sockets, in the order in which netstat prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum InetTable {
    /// /proc/net/tcp
    Tcp,
    /// /proc/net/tcp6
    Tcp6,
    /// /proc/net/udp
    Udp,
    /// /proc/net/udp6
    Udp6,
    /// /proc/net/udplite
    UdpLite,
    /// /proc/net/udplite6
    UdpLite6,
    /// /proc/net/raw
    Raw,
    /// /proc/net/raw6
    Raw6,
}

/// What a source meets while it reads a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line<R> {
    /// A row.
    Row(R),
    /// A line with too few fields: the renderer warns on stderr and goes on.
    Bogus,
}

/// Who holds each socket, by netstat's rule: the lowest PID whose main thread has it open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners {
    /// Socket inode to `PID/Program name`, at most 19 bytes, untrusted bytes.
    pub by_inode: FxHashMap<u64, Rc<[u8]>>,
    /// Whether the table is complete.
    pub access: OwnerAccess,
}

/// How much of /proc/*/fd could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnerAccess {
    /// No process was refused with EACCES.
    #[default]
    Full,
    /// Some were refused, some gave entries: the two-line warning.
    Partial,
    /// Some were refused and none gave an entry, or /proc itself could not be opened.
    Nothing,
}

/// What one round needs, so that a source reads nothing in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// `-p`: owners will be asked for.
    pub owners: bool,
    /// `-o`: timer cells will be printed.
    pub timers: bool,
    /// TCP over IPv4 will be asked for.
    pub tcp: bool,
    /// TCP over IPv6 will be asked for.
    pub tcp6: bool,
    /// UDP over IPv4 will be asked for.
    pub udp: bool,
    /// UDP over IPv6 will be asked for.
    pub udp6: bool,
    /// Unix sockets will be asked for.
    pub unix: bool,
}

/// A reader of the sockets of one network namespace.
///
/// A round is: `begin`, then `owners` once if asked for, then each table at most once, in the order
/// of [`InetTable`], then `unix`.
pub trait SocketSource {
    /// Starts a round. The live source drains its ring and takes its snapshot here.
    ///
    /// # Errors
    /// A source that can give no rows at all.
    fn begin(&mut self, want: Want) -> io::Result<()>;

    /// Owners of all sockets that the tables of this round will name.
    fn owners(&mut self) -> Owners;

    /// Calls `sink` for each line of a table.
    ///
    /// # Errors
    /// The error of opening the table's file, with its errno kept (ENOENT and EACCES are soft).
    fn inet(&mut self, table: InetTable, sink: &mut dyn FnMut(Line<InetRow>)) -> io::Result<()>;

    /// Calls `sink` for each Unix socket.
    ///
    /// # Errors
    /// As [`SocketSource::inet`].
    fn unix(&mut self, sink: &mut dyn FnMut(Line<UnixRow>)) -> io::Result<()>;

    /// Opens a file of /proc/net that only /proc has: SCTP, groups, amateur radio.
    ///
    /// # Errors
    /// As [`SocketSource::inet`].
    fn file(&mut self, name: &str) -> io::Result<File> {
        File::open(Path::new("/proc/net").join(name))
    }

    /// Lets time pass between two rounds of `-c`.
    fn pause(&mut self, time: Duration) {
        crate::clock::sleep(time);
    }

    /// What the reader of the rows must know about them, one line; said on stderr.
    fn remark(&mut self) -> Option<String> {
        None
    }

    /// The SELinux context of a process, for `-Z`.
    fn context(&mut self, pid: u32) -> Option<Box<[u8]>> {
        crate::proc::context(Path::new("/proc"), pid)
    }
}
