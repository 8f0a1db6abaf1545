//! The addresses of the minisock timer functions, where /proc/kallsyms hides them.
//!
//! A namespace of our own gets one TIME_WAIT socket and one request socket; their timers name the
//! functions.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    os::fd::AsRawFd as _,
};

use anyhow::{Context as _, Result, anyhow, bail};
use netstat_common::row::{ROW_REQUEST, ROW_TIMEWAIT};

use super::{
    object::{Handlers, Purpose},
    refresh::With,
    session::{SeedFrom, Session},
};

/// Finds both addresses.
///
/// # Errors
/// A namespace or a socket that could not be made (needs CAP_SYS_ADMIN).
pub fn handlers() -> Result<Handlers> {
    let thread = std::thread::spawn(|| -> Result<Handlers> {
        enter_private_netns()?;
        let _timewait = make_timewait()?;
        let _request = make_request()?;
        let mut session = Session::start(Purpose::Snapshot, SeedFrom::Kernel, false)?;
        let mut found = Handlers::default();
        session.rows(With::LEAST, |row| match row.kind {
            ROW_TIMEWAIT => found.timewait = row.handler,
            ROW_REQUEST => found.request = row.handler,
            _ => {}
        })?;
        Ok(found)
    });
    let found = thread
        .join()
        .map_err(|_| anyhow!("the thread that learns timer functions died"))??;
    if found.timewait == 0 || found.request == 0 {
        bail!(
            "the timer functions of TIME_WAIT and SYN_RECV sockets could not be learned; \
             let root read /proc/kallsyms (sysctl kernel.kptr_restrict=1)"
        );
    }
    Ok(found)
}

/// Moves this thread to a network namespace of its own, with loopback up.
fn enter_private_netns() -> Result<()> {
    // SAFETY: concerns this thread only.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(std::io::Error::last_os_error()).context("make a network namespace");
    }
    // SAFETY: a socket of our own, and an ifreq that the kernel only reads.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
        let done = libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request);
        let error = std::io::Error::last_os_error();
        libc::close(socket);
        if done != 0 {
            return Err(error).context("bring up loopback in a private network namespace");
        }
    }
    Ok(())
}

/// The side that closes first waits.
fn make_timewait() -> Result<TcpListener> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen on loopback")?;
    let address = listener.local_addr().context("own address")?;
    let client = TcpStream::connect(address).context("connect on loopback")?;
    let (mut server, _) = listener.accept().context("accept on loopback")?;
    client.shutdown(Shutdown::Write).context("shut down")?;
    // The end of the stream has arrived when read() says so; then both directions are closed.
    server.read(&mut [0]).context("read to the end")?;
    drop(server);
    drop(client);
    Ok(listener)
}

/// With TCP_DEFER_ACCEPT a connection without data stays a request socket.
fn make_request() -> Result<(TcpListener, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").context("listen on loopback")?;
    // On a busy machine it takes seconds to look.
    let seconds: libc::c_int = 60;
    // SAFETY: a valid option of a valid socket.
    let done = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of_val(&seconds) as libc::socklen_t,
        )
    };
    if done != 0 {
        return Err(std::io::Error::last_os_error()).context("set TCP_DEFER_ACCEPT");
    }
    let address = listener.local_addr().context("own address")?;
    let mut client = TcpStream::connect(address).context("connect on loopback")?;
    client.flush().context("flush")?;
    Ok((listener, client))
}
