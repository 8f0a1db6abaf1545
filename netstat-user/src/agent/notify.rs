//! Words to systemd: `sd_notify(3)` as datagrams, without the library.

use std::{
    env, io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

/// The service manager, if one started us.
pub struct Notify {
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it wants to hear of us, by its own setting.
    every: Option<Duration>,
}

impl Notify {
    /// Takes the manager's address from the environment.
    ///
    /// # Errors
    /// An address that is none, or socket(2).
    pub fn from_environment() -> io::Result<Self> {
        let every = env::var("WATCHDOG_USEC").ok();
        let ours = env::var("WATCHDOG_PID").ok();
        let ours = ours.is_none_or(|pid| pid == std::process::id().to_string());
        let every = every.filter(|_| ours).and_then(|text| text.parse().ok());
        let socket = match env::var_os("NOTIFY_SOCKET") {
            None => None,
            Some(path) => {
                let address = match path.as_bytes() {
                    [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
                    _ => SocketAddr::from_pathname(&path)?,
                };
                let socket = UnixDatagram::unbound()?;
                // The table must not wait for the manager.
                socket.set_nonblocking(true)?;
                Some((socket, address))
            }
        };
        Ok(Self {
            socket,
            // Twice in its time, as sd_watchdog_enabled(3) advises.
            every: every.map(|us: u64| Duration::from_micros(us / 2)),
        })
    }

    /// How often [`Notify::alive`] is to be called.
    #[must_use]
    pub fn every(&self) -> Option<Duration> {
        self.every.filter(|_| self.socket.is_some())
    }

    /// Clients can be served.
    pub fn ready(&self) {
        self.say("READY=1\nSTATUS=Tracing all network namespaces");
    }

    /// The table thread is not stuck.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    fn say(&self, words: &str) {
        if let Some((socket, address)) = &self.socket {
            // A manager that does not listen is not our failure.
            let _ = socket.send_to_addr(words.as_bytes(), address);
        }
    }
}
