//! The words that an actor understands.

use std::{
    fmt::Display,
    os::{fd::RawFd, unix::net::UnixStream},
    process,
    str::FromStr,
};

use anyhow::{Context, Result, bail};

use crate::{kinds, share, sockets, tables, uring};

/// What obeying a line came to.
pub(crate) enum Reply {
    /// Say this.
    Values(String),
    /// This process is the child of a fork and has this connection.
    Born(UnixStream),
    /// This process is a child with the same descriptor table and has this connection.
    Sharing(UnixStream),
    /// The leader thread is to end and another to go on.
    Moved,
}

/// How to reach the test.
pub(crate) struct Actor {
    pub(crate) control: RawFd,
    pub(crate) door: String,
}

impl Actor {
    pub(crate) fn obey(&mut self, line: &str) -> Result<Reply> {
        let mut words = Words(line);
        let word = words.word().to_owned();
        Ok(match word.as_str() {
            "listen" => {
                let address = words.parse("address")?;
                let backlog = words.parse("backlog")?;
                values(sockets::listen(
                    address,
                    backlog,
                    words.word() == "reuseport",
                )?)
            }
            "bind" => values(sockets::bound(words.parse("address")?)?),
            "connect" => {
                let (address, from) = (words.parse("address")?, words.optional("source")?);
                values(sockets::connect(address, from)?)
            }
            "call" => values(sockets::call(words.parse("address")?)?),
            "mapped" => values(sockets::connect_mapped(words.parse("address")?)?),
            "accept" => values(sockets::accept(words.parse("fd")?)?),
            "take" => values(sockets::take(words.parse("fd")?)?),
            "write" => {
                let (fd, count) = (words.parse("fd")?, words.parse("count")?);
                values(sockets::write(fd, count)?)
            }
            "read" => {
                let (fd, count) = (words.parse("fd")?, words.parse("count")?);
                values(sockets::read(fd, count)?)
            }
            "shutdown" => done(sockets::shut_down(words.parse("fd")?)?),
            "abort" => done(sockets::abort(words.parse("fd")?)?),
            "keepalive" => done(sockets::keep_alive(words.parse("fd")?)?),
            "close" => done(nix::unistd::close(words.parse::<RawFd>("fd")?)?),
            "dup" => values(share::duplicate(words.parse("fd")?)?),
            "cloexec" => {
                let (fd, on) = (words.parse("fd")?, words.parse::<u8>("0 or 1")?);
                done(share::close_on_exec(fd, on == 1)?)
            }
            "fork" => match share::fork(self.control, &self.door)? {
                share::Side::Parent(child) => values(child),
                share::Side::Child(control) => Reply::Born(control),
            },
            "exec" => {
                let argv0 = words.0.to_owned();
                share::exec(&argv0, &self.door, self.control)?;
                bail!("exec came back")
            }
            "pair" => values(share::pair()?),
            "send" => {
                let (through, fd) = (words.parse("fd")?, words.parse("fd")?);
                done(share::send(through, fd)?)
            }
            "receive" => values(share::receive(words.parse("fd")?)?),
            "setuid" => done(nix::unistd::setuid(words.parse::<u32>("uid")?.into())?),
            "setgid" => done(nix::unistd::setgid(words.parse::<u32>("gid")?.into())?),
            "title" => done(share::retitle(words.0)?),
            "thread" => done(share::thread_keeps(words.parse("fd")?)?),
            "udp" => values(kinds::udp(
                words.parse("address")?,
                words.word() == "reuseport",
            )?),
            "udp-call" => values(kinds::udp_call(words.parse("address")?)?),
            "udp-send" => {
                let (fd, address) = (words.parse("fd")?, words.parse("address")?);
                values(kinds::udp_send(fd, address, words.parse("count")?)?)
            }
            "udp-part" => done(kinds::disconnect(words.parse("fd")?)?),
            "raw" => {
                let family = words.parse::<u8>("4 or 6")?;
                values(kinds::raw(family == 6, words.parse("protocol")?)?)
            }
            "name-peer" => {
                let (fd, address) = (words.parse("fd")?, words.parse("address")?);
                done(kinds::connect(fd, address)?)
            }
            "unix" => values(kinds::unix(words.word())?),
            "unix-bind" => {
                let fd = words.parse("fd")?;
                done(kinds::unix_bind(fd, words.0)?)
            }
            "unix-listen" => {
                let (fd, backlog) = (words.parse("fd")?, words.parse("backlog")?);
                done(kinds::unix_listen(fd, backlog)?)
            }
            "unix-call" => {
                let fd = words.parse("fd")?;
                done(kinds::unix_call(fd, words.0)?)
            }
            "unix-pair" => values(kinds::unix_pair(words.word())?),
            "new-net" => done(kinds::new_net()?),
            "take-from" => {
                let (pid, fd) = (words.parse("pid")?, words.parse("fd")?);
                values(tables::take_from(pid, fd)?)
            }
            "close-range" => {
                let (first, last) = (words.parse("fd")?, words.parse("fd")?);
                done(tables::close_range(first, last, words.word() == "alone")?)
            }
            "share" => match tables::share(&self.door)? {
                Err(child) => values(child),
                Ok(control) => {
                    uring::disown();
                    Reply::Sharing(control)
                }
            },
            "fill" => {
                let (count, fd) = (words.parse("count")?, words.optional("fd")?);
                done(tables::fill(count, fd.unwrap_or(0))?)
            }
            "dup-at" => {
                let (fd, at_least) = (words.parse("fd")?, words.parse("fd")?);
                values(tables::duplicate_at(fd, at_least)?)
            }
            "new-pids" => done(tables::new_pids()?),
            "own-proc" => done(tables::own_proc()?),
            "next-pid" => done(tables::next_pid(words.parse("pid")?)?),
            "join-net" => done(tables::join_net(words.parse("pid")?)?),
            "uring-listen" => values(uring::listen(words.parse("address")?)?),
            "uring-accept" => values(uring::accept(words.parse("fd")?)?),
            "uring-accept-direct" => values(uring::accept_direct(words.parse("fd")?)?),
            "uring-connect-direct" => values(uring::connect_direct(words.parse("address")?)?),
            "uring-install" => values(uring::install(words.parse("slot")?)?),
            "uring-close-direct" => done(uring::close_direct(words.parse("slot")?)?),
            "uring-end" => done(uring::end()),
            "leave-leader" => Reply::Moved,
            "exit" => process::exit(0),
            other => bail!("unknown command {other:?}"),
        })
    }
}

/// The rest of a line.
struct Words<'a>(&'a str);

impl<'a> Words<'a> {
    fn word(&mut self) -> &'a str {
        let (word, rest) = self.0.split_once(' ').unwrap_or((self.0, ""));
        self.0 = rest;
        word
    }

    fn parse<T: FromStr>(&mut self, what: &str) -> Result<T>
    where
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let word = self.word();
        word.parse().with_context(|| format!("{what}: {word:?}"))
    }

    fn optional<T: FromStr>(&mut self, what: &str) -> Result<Option<T>>
    where
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        if self.0.is_empty() {
            return Ok(None);
        }
        self.parse(what).map(Some)
    }
}

fn values(values: impl Display) -> Reply {
    Reply::Values(values.to_string())
}

fn done((): ()) -> Reply {
    Reply::Values(String::new())
}
