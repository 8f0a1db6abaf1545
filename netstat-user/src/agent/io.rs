//! Reading and writing by a deadline.

use std::{
    io::{self, ErrorKind, IoSlice, Read, Write},
    os::fd::{AsFd, AsRawFd as _},
    time::{Duration, Instant},
};

use crate::{clock, proto::reply::Reply};
use zerocopy::IntoBytes as _;

/// Waits until a descriptor is ready.
///
/// # Errors
/// `TimedOut`, or poll(2).
pub fn ready(file: &impl AsFd, events: libc::c_short, by: Instant) -> io::Result<()> {
    loop {
        let left = by.saturating_duration_since(clock::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        let mut poll = libc::pollfd {
            fd: file.as_fd().as_raw_fd(),
            events,
            revents: 0,
        };
        // Rounded up: a rest below a millisecond must not spin.
        let ms = i32::try_from(left.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
        // SAFETY: one valid pollfd.
        match unsafe { libc::poll(&raw mut poll, 1, ms) } {
            0 => {}
            1.. => return Ok(()),
            _ => {
                let error = io::Error::last_os_error();
                if error.kind() != ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
}

/// Fills `buffer` from a non-blocking descriptor.
///
/// # Errors
/// `TimedOut`, `UnexpectedEof`, or read(2).
pub fn read_exact(
    file: &mut (impl Read + AsFd),
    mut buffer: &mut [u8],
    by: Instant,
) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.read(buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(count) => buffer = &mut buffer[count..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => ready(file, libc::POLLIN, by)?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes a message to a non-blocking descriptor.
///
/// # Errors
/// `TimedOut` if it takes nothing for `patience`, or is not done `by`; or write(2).
pub fn send(
    file: &mut (impl Write + AsFd),
    reply: &Reply<'_>,
    patience: Duration,
    by: Instant,
) -> io::Result<()> {
    let (header, payload) = reply.parts();
    let (header, payload) = (header.as_bytes(), payload.as_ref());
    let mut sent = 0;
    while sent < header.len() + payload.len() {
        let parts = [
            IoSlice::new(header.get(sent..).unwrap_or_default()),
            IoSlice::new(&payload[sent.saturating_sub(header.len())..]),
        ];
        match file.write_vectored(&parts) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                let soon = clock::now().checked_add(patience).unwrap_or(by).min(by);
                ready(file, libc::POLLOUT, soon)?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixStream, thread};

    use super::*;

    fn pair() -> (UnixStream, UnixStream) {
        let (here, there) = UnixStream::pair().expect("a pair of sockets");
        here.set_nonblocking(true).expect("non-blocking");
        (here, there)
    }

    fn soon() -> Instant {
        clock::now() + Duration::from_millis(50)
    }

    #[test]
    fn silence_is_over_by_the_deadline() {
        let (mut here, _there) = pair();
        let error = read_exact(&mut here, &mut [0; 8], soon()).expect_err("nobody writes");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn an_end_is_not_silence() {
        let (mut here, mut there) = pair();
        there.write_all(b"abc").expect("three bytes");
        drop(there);
        let error = read_exact(&mut here, &mut [0; 8], soon()).expect_err("five are missing");
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn who_does_not_read_is_given_up() {
        let (mut here, _there) = pair();
        let long = vec![0; 1 << 20];
        let far = clock::now() + Duration::from_secs(60);
        let error = send(
            &mut here,
            &Reply::Status(&long),
            Duration::from_millis(50),
            far,
        )
        .expect_err("nobody reads");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
    }

    #[test]
    fn who_reads_slowly_gets_all_of_it() {
        let (mut here, mut there) = pair();
        let long = vec![7; 1 << 20];
        let reader = thread::spawn(move || {
            let mut all = Vec::new();
            let mut buffer = [0; 10_000];
            while let Ok(count @ 1..) = there.read(&mut buffer) {
                all.extend_from_slice(&buffer[..count]);
            }
            all
        });
        let far = clock::now() + Duration::from_secs(60);
        send(
            &mut here,
            &Reply::Status(&long),
            Duration::from_secs(30),
            far,
        )
        .expect("all of it");
        drop(here);
        assert_eq!(
            reader.join().expect("the reader"),
            Reply::Status(&long).encode()
        );
    }
}
