//! Whose table is audited.

use std::{path::PathBuf, time::Duration};

use anyhow::{Result, anyhow};

use crate::{
    agent::audit::{about, place},
    client, clock,
    conn::{
        compare::{Changed, Listing, Place, What},
        types::{Endpoint, Ktime},
    },
    kernel::session::{News, Session},
    proto::{audit::Answer, reply::Row, request::Audit},
};

/// How long an agent may be silent: it says that it is at work each 50 ms.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long events of a tracer of our own gather.
const GATHER: Duration = Duration::from_millis(20);

/// One reading of a table.
pub struct Reading {
    /// When it ended.
    pub at: Ktime,
    /// The rows.
    pub rows: Listing,
    /// What has changed since the reading before.
    pub changed: Changed,
    /// What else is told.
    pub about: Answer,
}

/// A table that can be audited.
pub trait Subject {
    /// What it is, for people.
    fn name(&self) -> &'static str;

    /// Reads the table; with `walk` compares it with the kernel's hash tables, too.
    ///
    /// # Errors
    /// The table cannot be read.
    fn read(&mut self, walk: bool) -> Result<Reading>;

    /// Lets time pass.
    fn pause(&mut self, time: Duration);
}

/// The table of a tracer in this process.
pub struct Own<'a> {
    session: &'a mut Session,
    mark: Option<u64>,
}

impl<'a> Own<'a> {
    /// Around a tracer that has been seeded.
    pub fn new(session: &'a mut Session) -> Self {
        Self {
            session,
            mark: None,
        }
    }
}

impl Subject for Own<'_> {
    fn name(&self) -> &'static str {
        "a tracer of our own"
    }

    fn read(&mut self, walk: bool) -> Result<Reading> {
        let mut news = News::default();
        self.session.drain(&mut news)?;
        let mut rows = Listing::default();
        let look = self.session.look(self.mark, &mut news, |row| {
            let (place, what) = place(row);
            rows.add(place, what);
        })?;
        self.mark = Some(look.mark);
        let about = about(self.session, &look, walk, &mut news)?;
        Ok(Reading {
            at: look.at,
            rows,
            changed: changed(look.changed),
            about,
        })
    }

    fn pause(&mut self, time: Duration) {
        let begin = clock::now();
        let mut news = News::default();
        loop {
            let left = time.saturating_sub(begin.elapsed());
            if left.is_zero() {
                return;
            }
            clock::sleep(GATHER.min(left));
            // A failure here shows again at the next reading, which can report it.
            let _ = self.session.drain(&mut news);
            news.changes.clear();
            news.processes.clear();
        }
    }
}

/// The agent's table.
pub struct Agent {
    socket: PathBuf,
    mark: Option<u64>,
}

impl Agent {
    /// The agent behind a socket.
    #[must_use]
    pub fn new(socket: PathBuf) -> Self {
        Self { socket, mark: None }
    }
}

impl Subject for Agent {
    fn name(&self) -> &'static str {
        "the agent"
    }

    fn read(&mut self, walk: bool) -> Result<Reading> {
        let question = Audit {
            mark: self.mark,
            walk,
        };
        let (snapshot, about) = client::audit(&self.socket, question, PATIENCE)
            .map_err(|reason| anyhow!("{}: {reason}", self.socket.display()))?;
        let mut rows = Listing::default();
        for (v6, found) in [false, true].into_iter().zip(&snapshot.rows) {
            for row in found {
                let (place, what) = row_of_agent(v6, row);
                rows.add(place, what);
            }
        }
        let places = snapshot.changed.iter().map(|changed| changed.place());
        let places = (about.whole && self.mark.is_some()).then(|| places.collect());
        self.mark = Some(about.mark);
        Ok(Reading {
            at: Ktime(snapshot.head.ktime_ns.get()),
            rows,
            changed: changed(places),
            about,
        })
    }

    fn pause(&mut self, time: Duration) {
        clock::sleep(time);
    }
}

fn changed(places: Option<Vec<Place>>) -> Changed {
    let Some(places) = places else {
        return Changed::everything();
    };
    let mut changed = Changed::default();
    places.into_iter().for_each(|place| changed.add(place));
    changed
}

fn row_of_agent(v6: bool, row: &Row) -> (Place, What) {
    let end = |addr, port: zerocopy::little_endian::U16| Endpoint {
        addr,
        port: port.get(),
    };
    let place = Place::new(
        row.netns.get(),
        v6,
        end(row.saddr, row.sport),
        end(row.daddr, row.dport),
    );
    let what = What {
        state: row.state,
        inode: row.inode.get(),
    };
    (place, what)
}
