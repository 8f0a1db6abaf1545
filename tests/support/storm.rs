//! Many short connections.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    thread,
};

/// Connections that are reset at once, so that none is left in TIME_WAIT.
///
/// # Panics
/// When a call fails.
pub fn storm(connections: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let address = listener.local_addr().expect("own address");
    thread::scope(|scope| {
        let acceptor = scope.spawn(|| {
            // Not by their number: where the queue is full, a reset can come before its connection
            // is in it, and ends what nobody will accept.
            loop {
                let (mut stream, _) = listener.accept().expect("accept");
                if matches!(stream.read(&mut [0]), Ok(1)) {
                    break;
                }
            }
        });
        for _ in 0..connections {
            reset(address);
        }
        let mut last = TcpStream::connect(address).expect("connect");
        last.write_all(b"x").expect("say that it is the last one");
        acceptor.join().expect("the acceptor lives");
    });
}

/// Connects, and resets the connection.
///
/// # Panics
/// When a call fails.
pub fn reset(address: SocketAddr) {
    let stream = TcpStream::connect(address).expect("connect");
    let linger = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: a valid option of an open socket.
    let set = unsafe {
        nix::libc::setsockopt(
            stream.as_raw_fd(),
            nix::libc::SOL_SOCKET,
            nix::libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of_val(&linger) as nix::libc::socklen_t,
        )
    };
    assert_eq!(set, 0, "SO_LINGER");
}
