//! The consumer's side of the `EVENTS` ring.
//!
//! The ring is read through a window: a mapping of all of it, as libraries make one, counts each of
//! its pages twice as resident, since the kernel maps the data twice in a row so that no record wraps.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use anyhow::{Context as _, Result, bail};
use aya::maps::{Map, MapData};

use super::map::Mapped;

/// `BPF_RINGBUF_BUSY_BIT` of `include/uapi/linux/bpf.h`: the record is being written.
const BUSY: u32 = 1 << 31;
/// `BPF_RINGBUF_DISCARD_BIT`: the record does not count.
const DISCARDED: u32 = 1 << 30;
/// `BPF_RINGBUF_HDR_SZ`: the length, and a word that is the kernel's own. Records are aligned to it.
const HEADER: usize = 8;
/// How much is mapped at a time, bytes. Moving the window costs as much as some hundred records.
const WINDOW: usize = 1 << 20;
/// How much is read before the programs are told that its room is free, bytes. Each of them looks at
/// the consumer's position, so each step of it costs the next event a miss of the cache.
const STEP: u64 = 4096;

/// The ring, and the two positions that say what is in it.
pub struct Ring {
    map: MapData,
    /// Of the data, bytes: a power of two.
    size: usize,
    consumer: Mapped<AtomicU64, true>,
    producer: Mapped<AtomicU64>,
    window: Option<Window>,
}

/// A part of the data that is mapped.
struct Window {
    /// Where it begins, bytes from the begin of the data.
    start: usize,
    /// Its length in bytes.
    len: usize,
    words: Mapped<AtomicU32>,
}

impl Ring {
    /// Takes over the ring map.
    ///
    /// # Errors
    /// mmap(2) of the positions.
    pub fn new(map: Map) -> Result<Self> {
        let Map::RingBuf(map) = map else {
            bail!("map EVENTS is not a ring buffer")
        };
        let size = map.info().context("ask for the ring's size")?.max_entries() as usize;
        let (fd, page) = (map_fd(&map), page_size() as i64);
        // SAFETY: the kernel keeps an aligned `unsigned long` at the start of each of the first two
        // pages; the first is the consumer's, who we are.
        let (consumer, producer) = unsafe { (Mapped::new(fd, 0, 1), Mapped::new(fd, page, 1)) };
        Ok(Self {
            size,
            consumer: consumer.context("map the ring's consumer position")?,
            producer: producer.context("map the ring's producer position")?,
            window: None,
            map,
        })
    }

    /// Hands every record that was reserved before the call to `sink`, in reservation order.
    ///
    /// Waits for a record that a program is writing at this moment: what is behind it has
    /// happened already.
    ///
    /// # Errors
    /// mmap(2) of the window. The rest is left in the ring.
    pub fn drain(&mut self, mut sink: impl FnMut(&[u8])) -> io::Result<()> {
        let goal = self.produced();
        let mut at = self.consumed();
        let done = loop {
            if at >= goal {
                break Ok(());
            }
            match self.next(at, &mut sink) {
                Ok(Some(behind)) => at = behind,
                // What is read is free before the wait: an event that finds no room is lost.
                Ok(None) => {
                    self.free(at);
                    std::thread::yield_now();
                }
                Err(error) => break Err(error),
            }
            if at - self.consumed() >= STEP {
                self.free(at);
            }
        };
        self.free(at);
        done
    }

    /// Whether a record is there or being written.
    pub fn has_more(&self) -> bool {
        self.produced() != self.consumed()
    }

    /// Gives the record at a position between the consumer's and the producer's to `sink`. Gives the
    /// position behind it; `None` while it is being written.
    fn next(&mut self, at: u64, sink: &mut impl FnMut(&[u8])) -> io::Result<Option<u64>> {
        // Smaller than the ring, whose size fits.
        let place = at as usize & (self.size - 1);
        let header = self.words(place, HEADER)?[0].load(Ordering::Acquire);
        if header & BUSY != 0 {
            return Ok(None);
        }
        let len = (header & !(BUSY | DISCARDED)) as usize;
        let whole = (HEADER + len).next_multiple_of(HEADER);
        if header & DISCARDED == 0 {
            let words = &self.words(place, whole)?[HEADER / 4..];
            // SAFETY: mapped for at least `len` bytes from there, and nobody writes to a record that
            // was submitted before the consumer's position has passed it.
            sink(unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), len) });
        }
        Ok(Some(at + whole as u64))
    }

    /// Moves the consumer's position: what is before it may be written anew.
    fn free(&mut self, to: u64) {
        if to != self.consumed() {
            self.consumer.get()[0].store(to, Ordering::Release);
        }
    }

    /// The data from `place` on, `bytes` of it or more.
    fn words(&mut self, place: usize, bytes: usize) -> io::Result<&[AtomicU32]> {
        let inside =
            |window: &Window| place >= window.start && place + bytes <= window.start + window.len;
        if !self.window.as_ref().is_some_and(inside) {
            // First the old one goes: the two are never resident together.
            self.window = None;
            let page = page_size();
            let start = place / page * page;
            // The second copy of the data ends it. A record is no longer than the ring.
            let len = (WINDOW.max(bytes.next_multiple_of(page)) + page).min(2 * self.size - start);
            let offset = (2 * page + start) as i64;
            // SAFETY: the two positions' pages are followed by the data, twice. A word in it is read
            // as a header, which the kernel writes atomically, or as part of a whole record.
            let words = unsafe { Mapped::new(map_fd(&self.map), offset, len / 4)? };
            self.window = Some(Window { start, len, words });
        }
        match &self.window {
            Some(window) => Ok(&window.words.get()[(place - window.start) / 4..]),
            None => Err(io::ErrorKind::OutOfMemory.into()),
        }
    }

    fn produced(&self) -> u64 {
        self.producer.get()[0].load(Ordering::Acquire)
    }

    fn consumed(&self) -> u64 {
        self.consumer.get()[0].load(Ordering::Relaxed)
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.fd().as_fd()
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        map_fd(&self.map)
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
