//! Where lines go: a bounded queue, and a thread that writes.
//!
//! The table must go on whatever the reader does: who cannot take the lines loses lines, and is
//! told how many. The kernel's ring is drained at all times.

use std::{
    collections::VecDeque,
    io::{self, Write as _},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow};

/// How long a stop waits for a writer that does not move.
const STUCK: Duration = Duration::from_secs(1);
/// How often, and how many times, a journal that is being restarted is tried again.
const RETRY: (Duration, u32) = (Duration::from_millis(100), 100);

/// Who takes the lines.
pub(super) enum Sink {
    /// Standard output.
    Stdout,
    /// The systemd journal's socket.
    Journal(PathBuf),
}

/// What is written at once.
pub(super) enum Piece {
    /// Whole lines.
    Lines(Vec<u8>),
    /// Entries of the journal.
    Entries(Vec<Vec<u8>>),
    /// A line for stderr, in its place among the others.
    Note(String),
}

impl Piece {
    fn size(&self) -> usize {
        match self {
            Self::Lines(bytes) => bytes.len(),
            Self::Entries(entries) => entries.iter().map(Vec::len).sum(),
            Self::Note(_) => 0,
        }
    }
}

/// The sending end.
pub(super) struct Output {
    shared: Arc<Shared>,
    limit: usize,
    /// Lines thrown away since the start.
    pub(super) dropped: u64,
    /// Among them those that the reader has not been told of.
    untold: u64,
    /// Lines are thrown away until the queue is half empty: whole gaps, not every second line.
    refusing: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Piece, u64)>,
    bytes: usize,
    busy: u64,
    pieces: u64,
    closed: bool,
    failed: Option<anyhow::Error>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the queue was held leaves it whole: it is changed in single steps.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Output {
    /// Starts the writer. At most `limit` bytes wait for it.
    ///
    /// # Errors
    /// No journal, or no thread.
    pub(super) fn start(sink: Sink, limit: usize) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let mut writer = Writer::open(sink)?;
        let its = Arc::clone(&shared);
        thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || write_all(&its, &mut writer))
            .context("start the writing thread")?;
        Ok(Self {
            shared,
            limit,
            dropped: 0,
            untold: 0,
            refusing: false,
        })
    }

    /// Queues `lines` lines, or throws them away and counts them. Never waits.
    ///
    /// `told` makes what tells the reader of lines that are missing before these.
    ///
    /// # Errors
    /// The writer's, once: the disk is full, or the reader has gone.
    pub(super) fn push(
        &mut self,
        piece: Piece,
        lines: u64,
        told: impl FnOnce(u64) -> Vec<Piece>,
    ) -> Result<()> {
        let mut state = self.shared.lock();
        if let Some(error) = state.failed.take() {
            return Err(error);
        }
        let limit = if self.refusing {
            self.limit / 2
        } else {
            self.limit
        };
        self.refusing = state.bytes > 0 && state.bytes + piece.size() > limit;
        if self.refusing {
            self.dropped += lines;
            self.untold += lines;
            return Ok(());
        }
        if self.untold > 0 {
            for piece in told(std::mem::take(&mut self.untold)) {
                state.add(piece, 0);
            }
        }
        state.add(piece, lines);
        drop(state);
        self.shared.moved.notify_all();
        Ok(())
    }

    /// What the writer failed with, once.
    ///
    /// # Errors
    /// That.
    pub(super) fn check(&self) -> Result<()> {
        self.shared.lock().failed.take().map_or(Ok(()), Err)
    }

    /// Lets the writer finish; what it cannot write is counted as dropped.
    ///
    /// # Errors
    /// The writer's.
    pub(super) fn finish(&mut self, told: impl FnOnce(u64) -> Vec<Piece>) -> Result<()> {
        let mut state = self.shared.lock();
        if self.untold > 0 {
            for piece in told(std::mem::take(&mut self.untold)) {
                state.add(piece, 0);
            }
        }
        state.closed = true;
        self.shared.moved.notify_all();
        loop {
            if let Some(error) = state.failed.take() {
                return Err(error);
            }
            if state.queue.is_empty() && state.busy == 0 {
                return Ok(());
            }
            let before = state.pieces;
            let waited = self.shared.moved.wait_timeout(state, STUCK);
            let (now, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            state = now;
            if timeout.timed_out() && state.pieces == before {
                let waiting: u64 = state.queue.iter().map(|(_, lines)| lines).sum();
                self.dropped += waiting + state.busy;
                return Ok(());
            }
        }
    }
}

impl State {
    fn add(&mut self, piece: Piece, lines: u64) {
        self.bytes += piece.size();
        self.queue.push_back((piece, lines));
    }
}

fn write_all(shared: &Shared, writer: &mut Writer) {
    let mut state = shared.lock();
    loop {
        let Some((piece, lines)) = state.queue.pop_front() else {
            if state.closed {
                return;
            }
            state = shared
                .moved
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        // At least 1, so that a piece without lines is waited for too.
        state.busy = lines.max(1);
        drop(state);
        let written = writer.write(&piece);
        state = shared.lock();
        state.busy = 0;
        state.pieces += 1;
        state.bytes -= piece.size();
        if let Err(error) = written {
            state.failed = Some(error);
            shared.moved.notify_all();
            return;
        }
        shared.moved.notify_all();
    }
}

/// The receiving end.
enum Writer {
    Stdout,
    Journal(UnixDatagram, PathBuf),
}

impl Writer {
    fn open(sink: Sink) -> Result<Self> {
        let path = match sink {
            Sink::Stdout => return Ok(Self::Stdout),
            Sink::Journal(path) => path,
        };
        let socket = UnixDatagram::unbound().context("make a socket for the journal")?;
        // Only to find out now whether it is there: a journal that is restarted has a new socket.
        socket.connect(&path).with_context(|| {
            format!(
                "log: no journal at {} (is systemd-journald running?)",
                path.display()
            )
        })?;
        let socket = UnixDatagram::unbound().context("make a socket for the journal")?;
        Ok(Self::Journal(socket, path))
    }

    fn write(&mut self, piece: &Piece) -> Result<()> {
        match (piece, self) {
            (Piece::Lines(bytes), _) => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)
                    .and_then(|()| out.flush())
                    .context("write the log to stdout")
            }
            (Piece::Note(text), _) => {
                // Nobody is left to be told that stderr is closed.
                let _ = writeln!(io::stderr(), "{text}");
                Ok(())
            }
            (Piece::Entries(entries), Self::Journal(socket, path)) => {
                for entry in entries {
                    let sent = send(socket, path, entry);
                    sent.with_context(|| format!("send to the journal at {}", path.display()))?;
                }
                Ok(())
            }
            (Piece::Entries(_), Self::Stdout) => Err(anyhow!("journal entries for stdout")),
        }
    }
}

/// Sends a datagram; waits for a journal that is being restarted.
fn send(socket: &UnixDatagram, path: &PathBuf, entry: &[u8]) -> io::Result<()> {
    let (pause, times) = RETRY;
    let mut tried = 0;
    loop {
        match socket.send_to(entry, path) {
            Ok(_) => return Ok(()),
            Err(error)
                if tried < times
                    && matches!(
                        error.kind(),
                        io::ErrorKind::ConnectionRefused
                            | io::ErrorKind::NotFound
                            | io::ErrorKind::Interrupted
                            | io::ErrorKind::WouldBlock
                    ) =>
            {
                tried += 1;
                thread::sleep(pause);
            }
            Err(error) => return Err(error),
        }
    }
}
