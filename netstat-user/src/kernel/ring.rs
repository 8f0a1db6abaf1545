//! The consumer's side of the `EVENTS` ring.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, RawFd},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use aya::maps::{MapData, RingBuf};

use super::map::Mapped;

/// The ring, and the two positions that say what is in it.
pub struct Ring {
    ring: RingBuf<MapData>,
    consumer: Mapped<AtomicU64>,
    producer: Mapped<AtomicU64>,
}

impl Ring {
    /// Takes over the ring map.
    ///
    /// # Errors
    /// mmap(2) of the positions.
    pub fn new(map: aya::maps::Map) -> Result<Self> {
        let ring: RingBuf<MapData> = map.try_into().context("map EVENTS is not a ring buffer")?;
        let page = page_size() as i64;
        let fd = ring.as_raw_fd();
        // SAFETY: the ring lives as long as `self` and the kernel keeps an aligned `unsigned long`
        // at the start of each of its first two pages.
        let (consumer, producer) = unsafe { (Mapped::new(fd, 0, 1), Mapped::new(fd, page, 1)) };
        Ok(Self {
            consumer: consumer.context("map the ring's consumer position")?,
            producer: producer.context("map the ring's producer position")?,
            ring,
        })
    }

    /// Hands every record that was reserved before the call to `sink`, in reservation order.
    ///
    /// Waits for a record that a program is writing at this moment: what is behind it has
    /// happened already.
    pub fn drain(&mut self, mut sink: impl FnMut(&[u8])) {
        let goal = self.producer.get()[0].load(Ordering::Acquire);
        loop {
            let found = self.ring.next().map(|record| sink(&record)).is_some();
            if self.consumed() >= goal {
                return;
            }
            if !found {
                std::thread::yield_now();
            }
        }
    }

    /// Whether a record is there or being written.
    pub fn has_more(&self) -> bool {
        self.producer.get()[0].load(Ordering::Acquire) != self.consumed()
    }

    fn consumed(&self) -> u64 {
        self.consumer.get()[0].load(Ordering::Acquire)
    }
}

impl std::os::fd::AsFd for Ring {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        // SAFETY: the ring owns the descriptor and lives as long as the borrow.
        unsafe { std::os::fd::BorrowedFd::borrow_raw(self.ring.as_raw_fd()) }
    }
}

impl std::os::fd::AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

/// Size of a memory page.
pub fn page_size() -> usize {
    // SAFETY: sysconf has no precondition.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// The descriptor of an array map.
pub(super) fn map_fd(map: &MapData) -> RawFd {
    map.fd().as_fd().as_raw_fd()
}

/// `io::Error` of the last system call.
pub(super) fn last_error() -> io::Error {
    io::Error::last_os_error()
}
