//! [`SocketSource`] over the agent, and what takes its place when there is none any more.

use std::{
    fs::File,
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use crate::{
    client::{self, Snapshot},
    proc::ProcSource,
    proto::{
        reply::SEES_HOLDERS,
        request::{Scope, Wanted},
    },
    source::{InetTable, Line, Owners, SocketSource, Want},
    view::row::{InetRow, UnixRow},
};

use super::live;

/// Makes the source that goes on alone.
type Alone<'a> = Box<dyn FnMut() -> Box<dyn SocketSource> + 'a>;

/// The agent as a source of rows. What it does not carry is read from the caller's own /proc.
pub(super) struct AgentSource<'a> {
    path: PathBuf,
    patience: Duration,
    /// Says on stderr why the agent is not used.
    told: bool,
    proc: ProcSource,
    snapshot: Option<Snapshot>,
    alone: Alone<'a>,
    /// Once the agent has failed, to the end.
    instead: Option<Box<dyn SocketSource>>,
}

impl<'a> AgentSource<'a> {
    /// The agent behind a socket; `alone` makes what is used if it fails.
    pub(super) fn new(path: PathBuf, patience: Duration, told: bool, alone: Alone<'a>) -> Self {
        Self {
            path,
            patience,
            told,
            proc: ProcSource::default(),
            snapshot: None,
            alone,
            instead: None,
        }
    }
}

impl SocketSource for AgentSource<'_> {
    fn begin(&mut self, want: Want) -> io::Result<()> {
        if let Some(instead) = &mut self.instead {
            return instead.begin(want);
        }
        self.snapshot = None;
        let wanted = Wanted {
            tcp: want.tcp,
            tcp6: want.tcp6,
            holders: want.owners,
            scope: Scope::Own,
        };
        match client::snapshot(&self.path, wanted, self.patience) {
            Ok(snapshot) => {
                self.snapshot = Some(snapshot);
                Ok(())
            }
            Err(reason) => {
                if self.told {
                    let _ = writeln!(io::stderr(), "netstat-bpf: without the agent: {reason}");
                }
                self.instead.insert((self.alone)()).begin(want)
            }
        }
    }

    fn owners(&mut self) -> Owners {
        if let Some(instead) = &mut self.instead {
            return instead.owners();
        }
        match &self.snapshot {
            Some(snapshot) if snapshot.head.flags.get() & SEES_HOLDERS != 0 => {
                let holders = snapshot.holders();
                live::named(
                    holders
                        .iter()
                        .map(|held| (held.inode.get(), held.pid.get())),
                )
            }
            _ => self.proc.owners(),
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
        let rows = self.snapshot.as_ref().map(|snapshot| snapshot.rows(v6));
        for row in rows.unwrap_or_default() {
            sink(Line::Row(row.inet(v6)));
        }
        Ok(())
    }

    fn unix(&mut self, sink: &mut dyn FnMut(Line<UnixRow>)) -> io::Result<()> {
        match &mut self.instead {
            Some(instead) => instead.unix(sink),
            None => self.proc.unix(sink),
        }
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
