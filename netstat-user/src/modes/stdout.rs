//! Standard output as the reference has it: buffered in blocks unless it is a terminal, deaf to
//! errors.

use std::{
    fs::File,
    io::{self, BufWriter, ErrorKind, IsTerminal as _, LineWriter, Write},
    mem::ManuallyDrop,
    os::fd::FromRawFd as _,
};

/// Standard output.
#[derive(Debug)]
pub struct Stdout(Buffer);

#[derive(Debug)]
enum Buffer {
    Lines(LineWriter<Deaf>),
    Blocks(BufWriter<Deaf>),
}

impl Stdout {
    /// What is written waits in a buffer until [`Write::flush`] or drop.
    #[must_use]
    pub fn new() -> Self {
        const BLOCK: usize = 64 * 1024;
        // SAFETY: the runtime makes sure that descriptor 1 is open, and `ManuallyDrop` leaves it
        // so.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(libc::STDOUT_FILENO) });
        let terminal = file.is_terminal();
        Self(if terminal {
            Buffer::Lines(LineWriter::new(Deaf(file)))
        } else {
            Buffer::Blocks(BufWriter::with_capacity(BLOCK, Deaf(file)))
        })
    }
}

impl Default for Stdout {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Stdout {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Buffer::Lines(out) => out.write(text),
            Buffer::Blocks(out) => out.write(text),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Buffer::Lines(out) => out.flush(),
            Buffer::Blocks(out) => out.flush(),
        }
    }
}

/// Drops what cannot be written.
#[derive(Debug)]
struct Deaf(ManuallyDrop<File>);

impl Write for Deaf {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match self.0.write(text) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Ok(text.len()),
            result => result,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
