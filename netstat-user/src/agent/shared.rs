//! What the agent's threads hand to each other: jobs to the table, parts of answers back, counters.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, SyncSender, TrySendError, sync_channel},
    },
};

use tokio::sync::oneshot;

use crate::{
    proto::{
        audit::Changed,
        reply::{End, Head, Holder, Row},
        request::{self, Wanted},
        status::{Clients, Status},
    },
    view::metrics::Sample,
};

/// Jobs that may wait for the table. Those who wait at the same time share one pass.
const WAITING: usize = 256;

/// What the table thread is asked to do.
pub enum Job {
    /// Rows, in parts.
    Snapshot(SnapshotJob),
    /// All rows and what has changed.
    Audit(request::Audit, Sender<Part>),
    /// How it is.
    Status(Sender<Status>),
    /// What the metrics show.
    Metrics(oneshot::Sender<Sample>),
}

/// A snapshot for one client, or for several that ask alike.
pub struct SnapshotJob {
    /// Which tables.
    pub wanted: Wanted,
    /// The network namespace; `None` for all.
    pub netns: Option<u32>,
    /// Where the parts go. Never full: what an answer may take is bounded by [`Budget`].
    pub answer: Sender<Part>,
}

/// A part of an answer. Clients that share a pass share its memory.
#[derive(Clone)]
pub enum Part {
    /// What it is.
    Head(Head),
    /// Who holds what.
    Holders(Arc<Block<Holder>>),
    /// TCP over IPv4.
    Rows(Arc<Block<Row>>),
    /// TCP over IPv6.
    Rows6(Arc<Block<Row>>),
    /// Of which sockets events have told.
    Changed(Arc<Block<Changed>>),
    /// About an audit, as JSON.
    Audit(Vec<u8>),
    /// No more.
    End(End),
    /// Too much memory is in answers under way.
    Busy,
    /// It cannot be done, and why.
    Failed(String),
}

/// Items that count against a budget while anybody holds them.
pub struct Block<T> {
    items: Vec<T>,
    charge: Charge,
}

impl<T> Block<T> {
    /// Takes over items, and charges for them.
    #[must_use]
    pub fn new(items: Vec<T>, budget: &Budget) -> Self {
        let charge = budget.charge(size_of::<T>() * items.capacity());
        Self { items, charge }
    }

    /// The items.
    #[must_use]
    pub fn items(&self) -> &[T] {
        &self.items
    }

    /// What is charged for them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.charge.bytes
    }
}

/// How much memory answers may take that are not read yet.
#[derive(Clone)]
pub struct Budget {
    most: usize,
    used: Arc<AtomicUsize>,
}

struct Charge {
    bytes: usize,
    used: Arc<AtomicUsize>,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Budget {
    /// At most so many bytes; one answer may go beyond.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            used: Arc::default(),
        }
    }

    /// Whether another answer may be begun.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.used() < self.most
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    fn charge(&self, bytes: usize) -> Charge {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        Charge {
            bytes,
            used: Arc::clone(&self.used),
        }
    }
}

/// The way to the table thread.
#[derive(Clone)]
pub struct Jobs {
    queue: SyncSender<Job>,
    bell: Arc<Bell>,
}

/// The table thread's end.
pub struct Inbox {
    /// What is to be done.
    pub queue: Receiver<Job>,
    /// Rings when there is something.
    pub bell: Arc<Bell>,
}

/// A queue to the table thread.
///
/// # Errors
/// eventfd(2).
pub fn jobs() -> io::Result<(Jobs, Inbox)> {
    let (sender, queue) = sync_channel(WAITING);
    let bell = Arc::new(Bell::new()?);
    let jobs = Jobs {
        queue: sender,
        bell: Arc::clone(&bell),
    };
    Ok((jobs, Inbox { queue, bell }))
}

impl Jobs {
    /// Hands over a job; `false` if too many wait.
    #[must_use]
    pub fn submit(&self, job: Job) -> bool {
        let taken = match self.queue.try_send(job) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        };
        self.bell.ring();
        taken
    }
}

/// An eventfd.
pub struct Bell(OwnedFd);

impl Bell {
    fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the new descriptor is ours.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Makes the descriptor readable.
    pub fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight readable bytes. It fails only when it has been rung 2^64 times.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Makes it silent again.
    pub fn hush(&self) {
        let mut count = [0u8; 8];
        // SAFETY: eight writable bytes. It fails only when it was silent.
        unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What became of the clients, since the start.
#[derive(Debug, Default)]
pub struct Tally {
    /// Connections accepted.
    pub connections: AtomicU64,
    /// Connected now.
    pub connected: AtomicU64,
    /// Snapshots sent to the end.
    pub snapshots: AtomicU64,
    /// Refused: too many clients, or too much memory under way.
    pub busy: AtomicU64,
    /// Refused: may not see that, or not known.
    pub rights: AtomicU64,
    /// Refused: no request, or of another version.
    pub bad_requests: AtomicU64,
    /// Given up: did not ask, or did not read, in time.
    pub slow: AtomicU64,
    /// Went away before the answer was sent.
    pub gone: AtomicU64,
    /// Refused: the agent failed.
    pub failed: AtomicU64,
    /// Times that accept(2) failed, for want of descriptors for instance.
    pub accept_errors: AtomicU64,
}

impl Tally {
    /// The numbers.
    #[must_use]
    pub fn read(&self) -> Clients {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Clients {
            connected: read(&self.connected),
            connections: read(&self.connections),
            snapshots: read(&self.snapshots),
            refused_busy: read(&self.busy),
            refused_rights: read(&self.rights),
            refused_bad_request: read(&self.bad_requests),
            failed: read(&self.failed),
            given_up_slow: read(&self.slow),
            gone: read(&self.gone),
            accept_errors: read(&self.accept_errors),
        }
    }

    /// Counts one.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_charged_until_nobody_holds_it() {
        let budget = Budget::new(100);
        let block = Arc::new(Block::new(vec![0u64; 20], &budget));
        assert_eq!((budget.used(), block.bytes()), (160, 160));
        assert!(!budget.is_open());
        let other = Arc::clone(&block);
        drop(block);
        assert_eq!(other.items().len(), 20);
        drop(other);
        assert_eq!(budget.used(), 0);
        assert!(budget.is_open());
    }

    #[test]
    fn jobs_beyond_the_queue_are_turned_away() {
        let (jobs, inbox) = jobs().expect("an eventfd");
        let (sender, _receiver) = std::sync::mpsc::channel();
        let taken = (0..WAITING + 10).filter(|_| jobs.submit(Job::Status(sender.clone())));
        assert_eq!(taken.count(), WAITING);
        assert_eq!(inbox.queue.try_iter().count(), WAITING);
    }
}
