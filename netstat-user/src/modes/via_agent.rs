//! [`SocketSource`] over the agent, and what takes its place when there is none any more.

use std::{
    fs::File,
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use zerocopy::{FromBytes as _, IntoBytes as _};

use crate::{
    client::{self, Incoming, Part},
    proc::ProcSource,
    proto::{
        reply::{Holder, Row, SEES_HOLDERS},
        request::{Scope, Wanted},
    },
    source::{InetTable, Line, Owners, SocketSource, Want},
    view::row::{InetRow, UnixRow},
};

use super::live::Naming;

/// Makes the source that goes on alone.
type Alone<'a> = Box<dyn FnMut() -> Box<dyn SocketSource> + 'a>;

/// The agent as a source of rows. What it does not carry is read from the caller's own /proc.
///
/// Rows are handed on as they come, while the agent reads the next: what is made of them counts
/// only once the answer is whole, which [`SocketSource::settle`] says.
pub(super) struct AgentSource<'a> {
    path: PathBuf,
    patience: Duration,
    /// Says on stderr why the agent is not used.
    told: bool,
    proc: ProcSource,
    answer: Option<Stream>,
    alone: Alone<'a>,
    /// Once the agent has failed, to the end.
    instead: Option<Box<dyn SocketSource>>,
}

/// How far an answer has been read.
struct Stream {
    answer: Incoming,
    /// Rows that came before they were asked for, as bytes.
    early: [Vec<u8>; 2],
    ended: bool,
    failed: Option<String>,
}

impl Stream {
    /// The next part; `None` after the last, or a failure.
    fn next(&mut self) -> Option<Part<'_>> {
        if self.ended || self.failed.is_some() {
            return None;
        }
        match self.answer.next_part() {
            Ok(Part::End) => {
                self.ended = true;
                None
            }
            Ok(part) => Some(part),
            Err(reason) => {
                self.failed = Some(reason);
                None
            }
        }
    }

    /// The holders, which come first.
    fn holders(&mut self, mut sink: impl FnMut(&Holder)) {
        let mut early = [Vec::new(), Vec::new()];
        while let Some(part) = self.next() {
            match part {
                Part::Holders(holders) => holders.iter().for_each(&mut sink),
                Part::Rows(rows) => early[0].extend_from_slice(rows.as_bytes()),
                Part::Rows6(rows) => early[1].extend_from_slice(rows.as_bytes()),
                Part::Changed(_) | Part::Audit(_) | Part::End => {}
            }
            if early.iter().any(|rows| !rows.is_empty()) {
                break;
            }
        }
        self.early = early;
    }

    /// The rows of one family, those to come too.
    fn rows(&mut self, v6: bool, sink: &mut dyn FnMut(Line<InetRow>)) {
        let mut early = std::mem::take(&mut self.early);
        let mut show = |rows: &[Row]| {
            for row in rows {
                sink(Line::Row(row.inet(v6)));
            }
        };
        let mine = std::mem::take(&mut early[usize::from(v6)]);
        show(<[Row]>::ref_from_bytes(&mine).unwrap_or_default());
        drop(mine);
        while let Some(part) = self.next() {
            match (part, v6) {
                (Part::Rows(rows), false) | (Part::Rows6(rows), true) => show(rows),
                (Part::Rows(rows), true) => early[0].extend_from_slice(rows.as_bytes()),
                (Part::Rows6(rows), false) => early[1].extend_from_slice(rows.as_bytes()),
                (Part::Holders(_) | Part::Changed(_) | Part::Audit(_) | Part::End, _) => {}
            }
        }
        self.early = early;
    }

    /// Takes in all that comes, for later. The agent does not wait for those who do something else.
    fn gather(&mut self) {
        let mut early = std::mem::take(&mut self.early);
        while let Some(part) = self.next() {
            match part {
                Part::Rows(rows) => early[0].extend_from_slice(rows.as_bytes()),
                Part::Rows6(rows) => early[1].extend_from_slice(rows.as_bytes()),
                Part::Holders(_) | Part::Changed(_) | Part::Audit(_) | Part::End => {}
            }
        }
        self.early = early;
    }

    /// Reads to the end.
    fn finish(&mut self) {
        while self.next().is_some() {}
    }
}

impl<'a> AgentSource<'a> {
    /// The agent behind a socket; `alone` makes what is used if it fails.
    pub(super) fn new(path: PathBuf, patience: Duration, told: bool, alone: Alone<'a>) -> Self {
        Self {
            path,
            patience,
            told,
            proc: ProcSource::default(),
            answer: None,
            alone,
            instead: None,
        }
    }

    /// Goes on without the agent.
    fn give_up(&mut self, reason: &str, want: Want) -> io::Result<()> {
        if self.told {
            let _ = writeln!(io::stderr(), "netstat-bpf: without the agent: {reason}");
        }
        self.answer = None;
        self.instead.insert((self.alone)()).begin(want)
    }
}

impl SocketSource for AgentSource<'_> {
    fn begin(&mut self, want: Want) -> io::Result<()> {
        if let Some(instead) = &mut self.instead {
            return instead.begin(want);
        }
        let wanted = Wanted {
            tcp: want.tcp,
            tcp6: want.tcp6,
            holders: want.owners,
            timers: want.timers,
            user: want.user,
            scope: Scope::Own,
        };
        match client::snapshot(&self.path, wanted, self.patience) {
            Ok(answer) => {
                self.answer = Some(Stream {
                    answer,
                    early: Default::default(),
                    ended: false,
                    failed: None,
                });
                Ok(())
            }
            Err(reason) => self.give_up(&reason, want),
        }
    }

    fn provisional(&self) -> Option<usize> {
        let stream = self.answer.as_ref().filter(|_| self.instead.is_none())?;
        Some(stream.answer.head.rows_hint.get() as usize)
    }

    fn settle(&mut self, want: Want) -> io::Result<bool> {
        let Some(stream) = &mut self.answer else {
            return Ok(true);
        };
        stream.finish();
        match stream.failed.take() {
            None => Ok(true),
            Some(reason) => self.give_up(&reason, want).map(|()| false),
        }
    }

    fn owners(&mut self) -> Owners {
        if let Some(instead) = &mut self.instead {
            return instead.owners();
        }
        match &mut self.answer {
            Some(stream) if stream.answer.head.flags.get() & SEES_HOLDERS != 0 => {
                let mut naming = Naming::default();
                stream.holders(|held| naming.add(held.inode.get(), held.pid.get()));
                naming.owners()
            }
            stream => {
                // A walk over all descriptors may take seconds.
                if let Some(stream) = stream {
                    stream.gather();
                }
                self.proc.owners()
            }
        }
    }

    fn inet(&mut self, table: InetTable, sink: &mut dyn FnMut(Line<InetRow>)) -> io::Result<()> {
        if let Some(instead) = &mut self.instead {
            return instead.inet(table, sink);
        }
        let v6 = match table {
            InetTable::Tcp => false,
            InetTable::Tcp6 => true,
            other => return self.proc.inet(other, sink),
        };
        if let Some(stream) = &mut self.answer {
            stream.rows(v6, sink);
        }
        Ok(())
    }

    fn unix(&mut self, sink: &mut dyn FnMut(Line<UnixRow>)) -> io::Result<()> {
        if let Some(instead) = &mut self.instead {
            return instead.unix(sink);
        }
        // While it is open, the connection to the agent is in the list.
        if let Some(stream) = &mut self.answer {
            stream.finish();
        }
        self.proc.unix(sink)
    }

    fn file(&mut self, name: &str) -> io::Result<File> {
        self.proc.file(name)
    }

    fn pause(&mut self, time: Duration) {
        match &mut self.instead {
            Some(instead) => instead.pause(time),
            None => crate::clock::sleep(time),
        }
    }

    fn remark(&mut self) -> Option<String> {
        self.instead.as_mut()?.remark()
    }
}
