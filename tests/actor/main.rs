//! A process that owns sockets and does with them what it is told, one line at a time.
//!
//! It is started with the path of a unix socket, connects there, says `hello PID`, and answers each
//! line with `ok VALUES` or `err REASON`. A child that it forks connects there in its turn. It ends
//! when the other side closes the connection, so that no actor survives its test.

mod command;
mod kinds;
mod share;
mod sockets;
mod tables;
mod uring;

use std::{
    env,
    io::{BufRead, BufReader, Write},
    mem,
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::net::UnixStream,
    },
    process,
};

use anyhow::{Context, Result};
use nix::sys::signal::{SigHandler, Signal, signal};

/// After this argument comes the descriptor of a connection that an earlier image had opened.
const ADOPT: &str = "--adopt";

fn main() -> Result<()> {
    let mut arguments = env::args().skip(1);
    let door = arguments.next().context("usage: actor DOOR [--adopt FD]")?;
    // SAFETY: no handler of ours runs: children reap themselves, a closed pipe is an error.
    unsafe {
        signal(Signal::SIGCHLD, SigHandler::SigIgn)?;
        signal(Signal::SIGPIPE, SigHandler::SigIgn)?;
    }
    let control = match (arguments.next().as_deref(), arguments.next()) {
        (Some(ADOPT), Some(fd)) => {
            let fd = fd.parse().context("the adopted descriptor")?;
            // SAFETY: the image before this one left the descriptor open for us alone.
            let control = unsafe { UnixStream::from_raw_fd(fd) };
            share::close_on_exec(fd, true)?;
            control
        }
        _ => knock(&door)?,
    };
    serve(control, door)
}

/// Connects to the test.
fn knock(door: &str) -> Result<UnixStream> {
    let mut control = UnixStream::connect(door).with_context(|| format!("connect to {door}"))?;
    writeln!(control, "hello {}", process::id())?;
    Ok(control)
}

/// Obeys until the test hangs up. A forked child comes back here with a connection of its own.
pub(crate) fn serve(control: UnixStream, door: String) -> Result<()> {
    let mut actor = command::Actor {
        control: control.as_raw_fd(),
        door,
    };
    let mut lines = BufReader::new(control);
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let reply = match actor.obey(line.trim_end()) {
            Ok(command::Reply::Values(values)) => format!("ok {values}"),
            Ok(command::Reply::Born(child)) => {
                actor.control = child.as_raw_fd();
                lines = BufReader::new(child);
                continue;
            }
            Ok(command::Reply::Sharing(child)) => {
                actor.control = child.as_raw_fd();
                // The parent's connection is in our table too: it is not ours to close.
                mem::forget(mem::replace(&mut lines, BufReader::new(child)));
                continue;
            }
            Ok(command::Reply::Moved) => {
                let door = actor.door;
                // The thread goes on where this one, the leader, ends.
                std::thread::spawn(move || {
                    let mut control = lines.into_inner();
                    let _ = writeln!(control, "ok");
                    let code = i32::from(serve(control, door).is_err());
                    process::exit(code);
                });
                share::end_leader();
            }
            Err(error) => format!("err {error:#}"),
        };
        writeln!(lines.get_mut(), "{reply}")?;
    }
}
