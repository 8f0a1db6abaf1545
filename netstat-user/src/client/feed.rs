//! Following the agent's log: changes as they come, without waiting for them.

use std::{
    io::{ErrorKind, Read as _},
    os::{fd::AsFd, unix::net::UnixStream},
    path::Path,
    time::Duration,
};

use zerocopy::little_endian::U32;

use crate::proto::{
    HEADER, Header,
    change::{Change, Turn},
    reply::{LONGEST, Reply},
    request::Request,
};

use super::{Said, Talk, refused};

/// Reads of one call, so that signals get their turn.
const READS: usize = 32;

/// What the agent tells.
#[derive(Debug)]
pub enum Told<'a> {
    /// Stands before what was told in a turn of the table.
    Turn(Turn),
    /// Processes whose names are others now.
    Processes(&'a [U32]),
    /// Changes, in their order.
    Changes(&'a [Change]),
}

/// A connection on which the agent tells every change.
pub struct Feed {
    stream: UnixStream,
    buffer: Vec<u8>,
    filled: usize,
    first: Option<Turn>,
}

impl Feed {
    /// Asks for every change from now on, and waits until the agent is ready.
    ///
    /// # Errors
    /// Why it is not told: the client goes on alone.
    pub fn begin(path: &Path, patience: Duration) -> Result<Self, String> {
        let mut talk = Talk::begin(path, &Request::Log, patience)?;
        loop {
            let (header, length) = talk.header()?;
            match talk.reply(&header, length)? {
                Said::Turn(first) => {
                    return Ok(Self {
                        stream: talk.stream,
                        buffer: vec![0; HEADER + LONGEST],
                        filled: 0,
                        first: Some(first),
                    });
                }
                Said::Progress => {}
                Said::Head(_) | Said::End { .. } | Said::Status(_) | Said::Audit(_) => {
                    return Err("the agent says what was not asked".to_owned());
                }
            }
        }
    }

    /// Hands over what has come, and whether anything has.
    ///
    /// # Errors
    /// Why nothing more will come.
    pub fn take(&mut self, mut sink: impl FnMut(Told<'_>)) -> Result<bool, String> {
        let mut heard = false;
        if let Some(first) = self.first.take() {
            sink(Told::Turn(first));
            heard = true;
        }
        for _ in 0..READS {
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Err("the agent has gone away".to_owned()),
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(heard),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("read: {error}")),
            }
            heard = true;
            let used = messages(&self.buffer[..self.filled], &mut sink)?;
            self.buffer.copy_within(used..self.filled, 0);
            self.filled -= used;
        }
        Ok(heard)
    }
}

impl AsFd for Feed {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// Hands over the whole messages at the front of `bytes`; gives how many bytes they were.
fn messages(bytes: &[u8], sink: &mut impl FnMut(Told<'_>)) -> Result<usize, String> {
    let mut at = 0;
    while let Some((header, rest)) = bytes[at..].split_first_chunk::<HEADER>() {
        let header = Header::parse(*header);
        let length = Reply::expect(&header).map_err(|bad| bad.to_string())?;
        let Some(payload) = rest.get(..length) else {
            break;
        };
        match Reply::decode(&header, payload).map_err(|bad| bad.to_string())? {
            Reply::Turn(turn) => sink(Told::Turn(turn)),
            Reply::Processes(processes) => sink(Told::Processes(processes)),
            Reply::Changes(changes) => sink(Told::Changes(changes)),
            Reply::Progress => {}
            Reply::Refused(refusal, reason) => return Err(refused(refusal, reason)),
            _ => return Err("the agent speaks out of turn".to_owned()),
        }
        at += HEADER + length;
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::FromZeros as _;

    use super::*;

    fn stream() -> Vec<u8> {
        let changes = vec![Change::new_zeroed(); 3];
        [
            Reply::Turn(Turn::default()).encode(),
            Reply::Processes(&[U32::new(7)]).encode(),
            Reply::Progress.encode(),
            Reply::Changes(&changes).encode(),
        ]
        .concat()
    }

    fn count(bytes: &[u8]) -> (Result<usize, String>, [usize; 3]) {
        let mut told = [0; 3];
        let used = messages(bytes, &mut |part| match part {
            Told::Turn(_) => told[0] += 1,
            Told::Processes(processes) => told[1] += processes.len(),
            Told::Changes(changes) => told[2] += changes.len(),
        });
        (used, told)
    }

    #[test]
    fn messages_that_are_not_whole_wait() {
        let bytes = stream();
        assert_eq!(count(&bytes), (Ok(bytes.len()), [1, 1, 3]));
        let (used, told) = count(&bytes[..bytes.len() - 1]);
        assert_eq!(told, [1, 1, 0]);
        let left = &bytes[used.expect("whole messages")..];
        assert_eq!(count(left), (Ok(left.len()), [0, 0, 3]));
    }

    #[test]
    fn a_refusal_and_a_wrong_word_end_it() {
        let said = Reply::Refused(crate::proto::reply::Refusal::Failed, b"\x1b[2Jbroken").encode();
        let error = count(&said).0.expect_err("a refusal");
        assert!(
            error.contains("broken") && !error.contains('\x1b'),
            "{error}"
        );
        assert!(count(&Reply::Welcome.encode()).0.is_err());
    }

    proptest! {
        #[test]
        fn every_input_is_taken_or_refused(
            noise in prop::collection::vec(any::<u8>(), 0..300),
            at in 0usize..500,
            byte: u8,
        ) {
            let _ = count(&noise);
            let mut bytes = stream();
            let at = at % bytes.len();
            bytes[at] = byte;
            if let (Ok(used), _) = count(&bytes) {
                prop_assert!(used <= bytes.len());
            }
        }
    }
}
