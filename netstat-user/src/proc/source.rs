//! [`SocketSource`] over /proc.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use crate::{
    source::{InetTable, Line, Owners, SocketSource, Want},
    view::row::{InetRow, UnixRow},
};

use super::{context, for_each_line, owners, sockets, unix};

/// Reads everything anew in each round.
#[derive(Debug)]
pub struct ProcSource {
    root: PathBuf,
}

impl ProcSource {
    /// The tables under `root`, which is /proc outside tests.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }
}

impl Default for ProcSource {
    fn default() -> Self {
        Self::new(Path::new("/proc"))
    }
}

impl SocketSource for ProcSource {
    fn begin(&mut self, _: Want) -> io::Result<()> {
        Ok(())
    }

    fn owners(&mut self) -> Owners {
        owners(&self.root)
    }

    fn inet(&mut self, table: InetTable, sink: &mut dyn FnMut(Line<InetRow>)) -> io::Result<()> {
        let file = File::open(self.root.join("net").join(file_name(table)))?;
        for_each_line(file, |number, text| {
            if number > 0 {
                sink(sockets::line(table, text));
            }
        });
        Ok(())
    }

    fn unix(&mut self, sink: &mut dyn FnMut(Line<UnixRow>)) -> io::Result<()> {
        let file = File::open(self.root.join("net/unix"))?;
        let mut reader = unix::Reader::default();
        for_each_line(file, |number, text| {
            if let Some(line) = reader.line(number, text) {
                sink(line);
            }
        });
        Ok(())
    }

    fn file(&mut self, name: &str) -> io::Result<File> {
        File::open(self.root.join("net").join(name))
    }

    fn context(&mut self, pid: u32) -> Option<Box<[u8]>> {
        context(&self.root, pid)
    }
}

fn file_name(table: InetTable) -> &'static str {
    match table {
        InetTable::Tcp => "tcp",
        InetTable::Tcp6 => "tcp6",
        InetTable::Udp => "udp",
        InetTable::Udp6 => "udp6",
        InetTable::UdpLite => "udplite",
        InetTable::UdpLite6 => "udplite6",
        InetTable::Raw => "raw",
        InetTable::Raw6 => "raw6",
    }
}
