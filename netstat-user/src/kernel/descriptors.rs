//! The pass over the descriptor tables of all processes, on all CPUs.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read as _},
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc::channel,
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use netstat_common::{names, readers::READERS_SIZE};

use super::{
    map::Mapped,
    object::Object,
    session::{News, Session},
};

/// Names of the BPF programs.
const PROGRAMS: [&str; 2] = ["iter_fds_cast", "iter_fds"];
/// From so many open files on it pays to start threads.
const WORTH_THREADS: u64 = 5_000;
/// How long a thread waits that found the ring full, or that waits for the others.
const A_WHILE: Duration = Duration::from_micros(50);

/// The iterator, and how its threads share the work.
pub struct Descriptors {
    program: &'static str,
    readers: Mapped<u64, true>,
}

impl Descriptors {
    /// Loads the program.
    ///
    /// # Errors
    /// Linux before 5.17 (no `bpf_loop`), or mmap(2).
    pub fn new(object: &mut Object) -> Result<Self> {
        let load = |object: &mut Object, program: &str| object.load_iter(program, "task");
        let program = object.load_either(PROGRAMS, load)?;
        // SAFETY: an array of so many words, which the program only reads.
        let readers = unsafe { object.map_memory(names::READERS, READERS_SIZE as usize)? };
        Ok(Self { program, readers })
    }
}

impl Session {
    /// Notes the sockets in all descriptor tables. Some may be noted twice.
    pub(super) fn read_descriptors(&mut self, news: &mut News) -> Result<()> {
        let Some(descriptors) = &self.descriptors else {
            return Ok(());
        };
        let program = descriptors.program;
        let others = self.object.threads - 1;
        if others == 0 || open_files() < WORTH_THREADS {
            return self.iterate(program, news);
        }
        let files: io::Result<Vec<_>> = (0..others)
            .map(|_| self.object.iterate(program).map_err(io::Error::other))
            .collect();
        let files = files.context("start the iterators")?;
        let (start, at_work) = (Barrier::new(others + 1), AtomicUsize::new(others));
        thread::scope(|scope| {
            let (tell, ids) = channel();
            let helpers: Vec<_> = files
                .into_iter()
                .map(|file| {
                    let (tell, start, at_work) = (tell.clone(), &start, &at_work);
                    scope.spawn(move || {
                        // Whoever is not told reads more than its part.
                        let _ = tell.send(own_id());
                        start.wait();
                        let result = read(file);
                        at_work.fetch_sub(1, Ordering::Release);
                        result
                    })
                })
                .collect();
            let ids: Vec<_> = ids.iter().take(others).collect();
            self.share([own_id()].into_iter().chain(ids));
            start.wait();
            let mine = self.iterate(program, news);
            while at_work.load(Ordering::Acquire) > 0 {
                // The ring may be full.
                self.take(news);
                thread::sleep(A_WHILE);
            }
            self.share([]);
            for helper in helpers {
                let result = helper
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("it died")));
                result.with_context(|| format!("read {program}"))?;
            }
            self.take(news);
            mine
        })
    }

    fn share(&mut self, readers: impl IntoIterator<Item = u64>) {
        if let Some(descriptors) = &mut self.descriptors {
            let words = descriptors.readers.get_mut();
            let mut count = 0;
            words[1..].fill(0);
            for (word, reader) in words[1..].iter_mut().zip(readers) {
                count += 1;
                *word = count << 32 | reader;
            }
            words[0] = count;
        }
    }
}

/// Runs an iterator to its end, while another thread empties the ring.
fn read(mut file: File) -> io::Result<()> {
    loop {
        match file.read(&mut [0; 64]) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            // The ring was full; the kernel hands over the same object again.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => thread::sleep(A_WHILE),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// As the kernel knows this thread, in its PID namespace.
fn own_id() -> u64 {
    // SAFETY: no precondition.
    u64::from(unsafe { libc::gettid() }.cast_unsigned())
}

/// Open files of the host.
pub fn open_files() -> u64 {
    let text = fs::read_to_string("/proc/sys/fs/file-nr").unwrap_or_default();
    let allocated = text.split_whitespace().next();
    allocated.and_then(|word| word.parse().ok()).unwrap_or(0)
}
