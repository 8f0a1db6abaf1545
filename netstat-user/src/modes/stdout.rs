//! Standard output as the reference has it: buffered in blocks unless it is a terminal, deaf to
//! errors. Where standard error goes to the same place, its text falls between the same blocks.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, ErrorKind, IsTerminal as _, LineWriter, Write},
    mem::ManuallyDrop,
    os::{fd::FromRawFd as _, unix::fs::MetadataExt as _},
    rc::Rc,
};

/// Standard output.
#[derive(Debug)]
pub struct Stdout(Rc<RefCell<Buffer>>);

/// Standard error beside a [`Stdout`].
#[derive(Debug)]
pub struct Stderr(Rc<RefCell<Buffer>>);

#[derive(Debug)]
enum Buffer {
    Lines(LineWriter<Deaf>),
    Blocks(Blocks<Deaf>),
}

impl Stdout {
    /// What is written waits in a buffer until [`Write::flush`] or drop.
    #[must_use]
    pub fn new() -> Self {
        // SAFETY: the runtime makes sure that descriptor 1 is open, and `ManuallyDrop` leaves it
        // so.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(libc::STDOUT_FILENO) });
        let buffer = if file.is_terminal() {
            Buffer::Lines(LineWriter::new(Deaf(file)))
        } else {
            let block = block_of(&file);
            Buffer::Blocks(Blocks::new(Deaf(file), block))
        };
        Self(Rc::new(RefCell::new(buffer)))
    }

    /// Standard error: what is written to it comes after the blocks that the reference would have
    /// written by then, and before the rest.
    #[must_use]
    pub fn stderr(&self) -> Stderr {
        Stderr(Rc::clone(&self.0))
    }
}

impl Default for Stdout {
    fn default() -> Self {
        Self::new()
    }
}

impl Write for Stdout {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match &mut *self.0.borrow_mut() {
            Buffer::Lines(out) => out.write(text),
            Buffer::Blocks(out) => out.write(text),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut *self.0.borrow_mut() {
            Buffer::Lines(out) => out.flush(),
            Buffer::Blocks(out) => out.flush(),
        }
    }
}

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if let Buffer::Blocks(out) = &mut *self.0.borrow_mut() {
            out.write_blocks()?;
        }
        io::stderr().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The size of the blocks in which the C library writes to a file.
fn block_of(file: &File) -> usize {
    const USUAL: usize = 8192;
    let preferred = file.metadata().map_or(0, |file| file.blksize());
    usize::try_from(preferred)
        .ok()
        .filter(|size| (1..USUAL).contains(size))
        .unwrap_or(USUAL)
}

/// Text that leaves in whole blocks, counted from the last flush, many at a time.
#[derive(Debug)]
struct Blocks<W: Write> {
    out: W,
    block: usize,
    /// Begins at the border of a block.
    waiting: Vec<u8>,
}

impl<W: Write> Blocks<W> {
    /// What may wait while nothing is written to standard error.
    const ROOM: usize = 64 * 1024;

    fn new(out: W, block: usize) -> Self {
        Self {
            out,
            block,
            waiting: Vec::with_capacity(Self::ROOM),
        }
    }

    /// Writes all blocks that are full, but for the last byte's: it leaves with the byte after it.
    fn write_blocks(&mut self) -> io::Result<()> {
        let full = self.waiting.len().saturating_sub(1) / self.block * self.block;
        self.out.write_all(&self.waiting[..full])?;
        self.waiting.drain(..full);
        Ok(())
    }

    /// Writes text of many blocks from where it stands.
    fn write_long(&mut self, text: &[u8]) -> io::Result<()> {
        let to_border = self.waiting.len().next_multiple_of(self.block) - self.waiting.len();
        let (first, rest) = text.split_at(to_border.min(text.len()));
        self.waiting.extend_from_slice(first);
        let full = rest.len().saturating_sub(1) / self.block * self.block;
        if full > 0 {
            self.out.write_all(&self.waiting)?;
            self.waiting.clear();
            self.out.write_all(&rest[..full])?;
        }
        self.waiting.extend_from_slice(&rest[full..]);
        Ok(())
    }
}

impl<W: Write> Write for Blocks<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if text.len() > Self::ROOM {
            return self.write_long(text).map(|()| text.len());
        }
        if self.waiting.len() + text.len() > Self::ROOM {
            self.write_blocks()?;
        }
        self.waiting.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.waiting)?;
        self.waiting.clear();
        self.out.flush()
    }
}

impl<W: Write> Drop for Blocks<W> {
    fn drop(&mut self) {
        // A write error is nothing to the reference.
        let _ = self.flush();
    }
}

/// Drops what cannot be written.
#[derive(Debug)]
struct Deaf(ManuallyDrop<File>);

impl Deaf {
    /// The most that one write(2) is given. For more a file system takes larger pages, which are seldom ones
    /// that somebody has used lately: on a virtual machine the host has to provide them first. 10 MB took
    /// 5 to 23 ms in two pieces, and 4 to 5 in pieces of this size.
    const PIECE: usize = 256 * 1024;
}

impl Write for Deaf {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        match self.0.write(&text[..text.len().min(Self::PIECE)]) {
            Err(error) if error.kind() != ErrorKind::Interrupted => Ok(text.len()),
            result => result,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_leaves_in_blocks_too() {
        for before in 0..9 {
            let mut seen = Vec::new();
            let mut blocks = Blocks::new(&mut seen, 4);
            let text = vec![b'x'; Blocks::<Vec<u8>>::ROOM + 3];
            blocks.write_all(&text[..before]).expect("a vector");
            blocks.write_all(&text).expect("a vector");
            blocks.write_blocks().expect("a vector");
            let waiting = blocks.waiting.len();
            assert!((1..=4).contains(&waiting), "{waiting}");
            assert_eq!((before + text.len() - waiting) % 4, 0);
            drop(blocks);
            assert_eq!(seen.len(), before + text.len());
        }
    }

    #[test]
    fn blocks_leave_when_a_byte_follows_them() {
        let mut seen = Vec::new();
        let mut blocks = Blocks::new(&mut seen, 4);
        for (text, left) in [("abc", 0), ("d", 0), ("e", 4), ("fghijklm", 12)] {
            blocks.write_all(text.as_bytes()).expect("a vector");
            blocks.write_blocks().expect("a vector");
            assert_eq!(blocks.out.len(), left, "after {text}");
        }
        blocks.flush().expect("a vector");
        // The count begins anew.
        blocks.write_all(b"nop").expect("a vector");
        blocks.write_blocks().expect("a vector");
        assert_eq!(blocks.out.len(), 13);
        drop(blocks);
        assert_eq!(seen, b"abcdefghijklmnop");
    }

    #[test]
    fn much_text_does_not_wait() {
        let mut seen = Vec::new();
        let mut blocks = Blocks::new(&mut seen, 4096);
        for _ in 0..1000 {
            blocks.write_all(&[b'x'; 1000]).expect("a vector");
        }
        assert!(blocks.waiting.len() <= Blocks::<Vec<u8>>::ROOM);
        drop(blocks);
        assert_eq!(seen.len(), 1_000_000);
    }
}
