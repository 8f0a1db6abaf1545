//! One connection: who asks, what, and the answer written for as long as it is taken.

use std::{
    io::ErrorKind,
    os::{fd::AsFd as _, unix::net::UnixStream},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    time::{Duration, Instant},
};

use crate::{
    clock,
    proto::{
        HEADER, Header,
        reply::{Refusal, Reply},
        request::{Audit, BadRequest, LONGEST, Request, Scope, Wanted},
    },
};

use super::{
    io,
    log::Feed,
    peer::{self, Own, Peer},
    shared::{Job, Jobs, Part, SnapshotJob, Tally},
    table,
};

/// How long a client may take to ask.
const ASKING: Duration = Duration::from_secs(1);
/// How long a client may take nothing of the answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a client may take for all of it.
const WHOLE: Duration = Duration::from_secs(20);
/// How long one that follows the log may take for a message: somebody may have stopped it for a while.
const STOPPED: Duration = Duration::from_secs(120);
/// How often a client that waits is told that it does not wait in vain. Clients give up after
/// 200 ms of silence.
const SIGN_OF_LIFE: Duration = Duration::from_millis(50);
/// After so many of them, 10 s, it does wait in vain. Counted and not timed: an agent that was stopped for
/// a while has not been waiting.
const IN_VAIN: u32 = 200;

/// What all clients' threads share.
pub struct Hall {
    /// The way to the table thread.
    pub jobs: Jobs,
    /// What became of the clients.
    pub tally: Arc<Tally>,
    /// The agent's own namespaces.
    pub own: Own,
    /// Bytes of changes that may wait for each client that follows the log.
    pub log_queue: usize,
}

/// How a connection ends without its answer.
enum Trouble {
    Refused(Refusal, String),
    Slow,
    Gone,
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == ErrorKind::TimedOut {
            Self::Slow
        } else {
            Self::Gone
        }
    }
}

impl From<BadRequest> for Trouble {
    fn from(bad: BadRequest) -> Self {
        let refusal = match bad {
            BadRequest::Version(_) => Refusal::Version,
            _ => Refusal::Request,
        };
        Self::Refused(refusal, bad.to_string())
    }
}

/// Answers one request. The connection ends with it.
pub fn serve(stream: UnixStream, hall: &Hall) {
    let mut talk = Talk {
        stream,
        by: clock::now() + WHOLE,
        follows: false,
    };
    let tally = &hall.tally;
    match talk.answer(hall) {
        Ok(()) => {}
        Err(Trouble::Slow) => Tally::count(&tally.slow),
        Err(Trouble::Gone) => Tally::count(&tally.gone),
        Err(Trouble::Refused(refusal, reason)) => {
            Tally::count(match refusal {
                Refusal::Busy => &tally.busy,
                Refusal::Rights => &tally.rights,
                Refusal::Version | Refusal::Request => &tally.bad_requests,
                Refusal::Failed | Refusal::Other(_) => &tally.failed,
            });
            // If it cannot be told, the end of the connection tells it.
            let _ = talk.say(&Reply::Refused(refusal, reason.as_bytes()));
        }
    }
}

struct Talk {
    stream: UnixStream,
    by: Instant,
    /// It is sent changes, for as long as it takes them.
    follows: bool,
}

impl Talk {
    fn say(&mut self, reply: &Reply<'_>) -> std::io::Result<()> {
        let (patience, by) = if self.follows {
            (STOPPED, clock::now() + STOPPED)
        } else {
            (PATIENCE, self.by)
        };
        io::send(&mut self.stream, reply, patience, by)
    }

    fn answer(&mut self, hall: &Hall) -> Result<(), Trouble> {
        let request = self.listen()?;
        let peer = peer::identify(self.stream.as_fd(), &hall.own)
            .map_err(|reason| Trouble::Refused(Refusal::Rights, reason))?;
        self.say(&Reply::Welcome)?;
        match request {
            Request::Status => self.status(hall),
            Request::Log => self.log(&peer, hall),
            Request::Snapshot(wanted) => self.snapshot(wanted, &peer, hall),
            Request::Audit(audit) => self.audit(audit, &peer, hall),
        }
    }

    fn listen(&mut self) -> Result<Request, Trouble> {
        let by = clock::now() + ASKING;
        let mut header = [0; HEADER];
        io::read_exact(&mut self.stream, &mut header, by)?;
        let header = Header::parse(header);
        let length = Request::expect(&header)?;
        let mut payload = [0; LONGEST];
        io::read_exact(&mut self.stream, &mut payload[..length], by)?;
        Ok(Request::decode(&header, &payload[..length])?)
    }

    fn snapshot(&mut self, wanted: Wanted, peer: &Peer, hall: &Hall) -> Result<(), Trouble> {
        let netns = match wanted.scope {
            Scope::Own => Some(peer.netns),
            Scope::Namespace(netns) if netns == peer.netns || peer.sees_all_namespaces => {
                Some(netns)
            }
            Scope::All if peer.sees_all_namespaces => None,
            Scope::Namespace(_) | Scope::All => {
                let reason = "other network namespaces are shown to CAP_SYS_ADMIN only";
                return Err(Trouble::Refused(Refusal::Rights, reason.to_owned()));
            }
        };
        let wanted = Wanted {
            holders: wanted.holders && peer.sees_holders,
            ..wanted
        };
        let (answer, parts) = channel();
        let job = Job::Snapshot(SnapshotJob {
            wanted,
            netns,
            answer,
        });
        submit(hall, job)?;
        self.pass_on(&parts, peer, hall)
    }

    fn audit(&mut self, audit: Audit, peer: &Peer, hall: &Hall) -> Result<(), Trouble> {
        if !(peer.sees_holders && peer.sees_all_namespaces) {
            let reason =
                "an audit is for root with CAP_SYS_ADMIN, CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH";
            return Err(Trouble::Refused(Refusal::Rights, reason.to_owned()));
        }
        let (answer, parts) = channel();
        submit(hall, Job::Audit(audit, answer))?;
        self.pass_on(&parts, peer, hall)
    }

    /// What the table says next. Meanwhile the client is told that it does not wait in vain, except one that
    /// follows the log: that one gets its beats from the table.
    fn next<T>(&mut self, from: &Receiver<T>) -> Result<Result<T, RecvTimeoutError>, Trouble> {
        for _ in 0..IN_VAIN {
            match from.recv_timeout(SIGN_OF_LIFE) {
                Err(RecvTimeoutError::Timeout) if self.follows => {}
                Err(RecvTimeoutError::Timeout) => self.say(&Reply::Progress)?,
                said => return Ok(said),
            }
        }
        Ok(Err(RecvTimeoutError::Timeout))
    }

    /// Sends what the table answers, part by part.
    fn pass_on(&mut self, parts: &Receiver<Part>, peer: &Peer, hall: &Hall) -> Result<(), Trouble> {
        loop {
            match self.next(parts)?.map_err(no_answer)? {
                Part::Head(mut head) => {
                    table::show_holders(&mut head, peer.sees_holders);
                    self.say(&Reply::Head(head))?;
                }
                Part::Holders(block) => self.say(&Reply::Holders(block.items()))?,
                Part::Rows(block) => self.say(&Reply::Rows(block.items()))?,
                Part::Rows6(block) => self.say(&Reply::Rows6(block.items()))?,
                Part::Changed(block) => self.say(&Reply::Changed(block.items()))?,
                Part::Audit(json) => self.say(&Reply::Audit(&json))?,
                Part::End(end) => {
                    self.say(&Reply::End(end))?;
                    Tally::count(&hall.tally.snapshots);
                    return Ok(());
                }
                Part::Busy => return Err(busy()),
                Part::Failed(reason) => return Err(Trouble::Refused(Refusal::Failed, reason)),
            }
        }
    }

    /// Sends every change for as long as the client takes them.
    fn log(&mut self, peer: &Peer, hall: &Hall) -> Result<(), Trouble> {
        if !peer.sees_holders || !peer.sees_all_namespaces {
            let reason = "the log is shown to those only who can see all sockets and their owners";
            return Err(Trouble::Refused(Refusal::Rights, reason.to_owned()));
        }
        let (feed, pieces) = Feed::new(&hall.tally, hall.log_queue);
        submit(hall, Job::Log(feed))?;
        loop {
            let piece = match self.next(&pieces)? {
                Ok(piece) => piece,
                Err(RecvTimeoutError::Disconnected) if !self.follows => {
                    let reason = "too many follow the log".to_owned();
                    return Err(Trouble::Refused(Refusal::Busy, reason));
                }
                Err(_) => {
                    let reason = "the table has stopped telling changes".to_owned();
                    return Err(Trouble::Refused(Refusal::Failed, reason));
                }
            };
            self.follows = true;
            self.say(&Reply::Turn(piece.turn))?;
            if !piece.processes.is_empty() {
                self.say(&Reply::Processes(&piece.processes))?;
            }
            if !piece.changes.is_empty() {
                self.say(&Reply::Changes(&piece.changes))?;
            }
        }
    }

    fn status(&mut self, hall: &Hall) -> Result<(), Trouble> {
        let (answer, answers) = channel();
        submit(hall, Job::Status(answer))?;
        let mut found = self.next(&answers)?.map_err(no_answer)?;
        found.clients = hall.tally.read();
        let json = serde_json::to_vec(&found)
            .map_err(|error| Trouble::Refused(Refusal::Failed, error.to_string()))?;
        Ok(self.say(&Reply::Status(&json))?)
    }
}

fn submit(hall: &Hall, job: Job) -> Result<(), Trouble> {
    if hall.jobs.submit(job) {
        Ok(())
    } else {
        Err(busy())
    }
}

fn no_answer(_: RecvTimeoutError) -> Trouble {
    Trouble::Refused(Refusal::Failed, "the table gives no answer".to_owned())
}

fn busy() -> Trouble {
    Trouble::Refused(Refusal::Busy, "too many answers under way".to_owned())
}
