//! `netstat-bpf audit`: the live table against the kernel's own lists.
//!
//! Three witnesses: the table as it would be printed, /proc/net/tcp of each network namespace, which
//! knows nothing of events and nothing of our walk, and the kernel's hash tables, which reach
//! namespaces that nobody can enter any more.

mod once;
mod subject;

use std::{
    io::{self, ErrorKind, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    agent::{io::ready, lifecycle::Signals},
    cli, client, clock,
    kernel::{
        object::Purpose,
        session::{SeedFrom, Session},
    },
    view::audit::{Report, Summary},
};

pub use self::{
    once::audit,
    subject::{Agent, Own, Reading, Subject},
};

use super::{live::proc_is_ours, privilege};

/// The audit could not be made, or not everything was compared.
const INCOMPLETE: u8 = 2;
/// How long a signal waits at most.
const TURN: Duration = Duration::from_millis(50);

/// Audits and prints. Gives the exit status.
#[must_use]
pub fn run(options: &cli::Audit) -> u8 {
    match try_run(options) {
        Ok(status) => status,
        Err(error) => {
            let _ = writeln!(io::stderr(), "netstat-bpf: audit: {error:#}");
            INCOMPLETE
        }
    }
}

fn try_run(options: &cli::Audit) -> Result<u8> {
    let socket = options.socket.clone().unwrap_or_else(client::socket);
    let demanded = options.socket.is_some();
    // An agent that refuses us is not passed over in silence: its table is the one that is used.
    if !options.no_agent && (demanded || UnixStream::connect(&socket).is_ok()) {
        return audits(&mut Agent::new(socket), options, Duration::ZERO);
    }
    if let Some(missing) = privilege::missing() {
        bail!("{missing}");
    }
    if !proc_is_ours() {
        bail!("/proc shows another PID namespace: run the audit outside the container");
    }
    // Every change, so that states are compared, too.
    let mut session = Session::start(Purpose::Log, SeedFrom::Kernel, false)?;
    if !session.can_look() || !session.knows(0) {
        bail!("this kernel cannot walk all sockets: an audit needs Linux 6.1");
    }
    let time = Duration::from_secs(options.seconds.into());
    audits(&mut Own::new(&mut session), options, time)
}

/// Audits once, or until a signal. `before`: how long the table lives before the first.
fn audits(subject: &mut dyn Subject, options: &cli::Audit, before: Duration) -> Result<u8> {
    let signals = Signals::block().context("take signals")?;
    let mut out = io::stdout().lock();
    let mut summary = Summary::default();
    let mut worst = 0;
    let pause = Duration::from_secs(options.seconds.into());
    let mut wait = before;
    while !signalled(subject, &signals, wait)? {
        let report = audit(subject)?;
        wait = pause;
        summary.add(&report);
        worst = worse(worst, report.status());
        if !print(&mut out, options, &report)? {
            return Ok(worst);
        }
        if !options.watch {
            return Ok(worst);
        }
    }
    if summary.audits == 0 {
        bail!("ended by a signal before the first audit");
    }
    let text = if options.json {
        json(&summary)?
    } else {
        summary.line().into_bytes()
    };
    write(&mut out, &text)?;
    Ok(worst)
}

/// A mismatch is worse than what is not known.
fn worse(one: u8, other: u8) -> u8 {
    match (one, other) {
        (1, _) | (_, 1) => 1,
        _ => one.max(other),
    }
}

/// Waits, and tells whether a signal asks for the end.
fn signalled(subject: &mut dyn Subject, signals: &Signals, time: Duration) -> Result<bool> {
    let begin = clock::now();
    loop {
        match ready(
            signals,
            libc::POLLIN,
            clock::now() + Duration::from_millis(1),
        ) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::TimedOut => {}
            Err(error) => return Err(error).context("wait for signals"),
        }
        let left = time.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return Ok(false);
        }
        subject.pause(TURN.min(left));
    }
}

/// `false` if nobody reads any more.
fn print(out: &mut dyn Write, options: &cli::Audit, report: &Report) -> Result<bool> {
    let text = match (options.json, options.watch) {
        (true, _) => json(report)?,
        // Of a right one a line is enough.
        (false, true) if report.status() == 0 => report.line().into_bytes(),
        (false, true) => (report.line() + &report.text()).into_bytes(),
        (false, false) => report.text().into_bytes(),
    };
    write(out, &text)
}

fn write(out: &mut dyn Write, text: &[u8]) -> Result<bool> {
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        result => result.map(|()| true).context("write the report"),
    }
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    crate::view::json::write(&mut text, value);
    text.push(b'\n');
    Ok(text)
}
