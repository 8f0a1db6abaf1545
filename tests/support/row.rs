//! One row of `netstat -tanpeo`, parsed, and the row that a test expects.

use std::{fmt, fs};

/// Columns of one TCP row. Timers' seconds are left out: they run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// `tcp` or `tcp6`.
    pub proto: String,
    /// Recv-Q.
    pub recv_q: u32,
    /// Send-Q.
    pub send_q: u32,
    /// Local Address.
    pub local: String,
    /// Foreign Address.
    pub remote: String,
    /// State.
    pub state: String,
    /// Numeric user.
    pub uid: u32,
    /// Whether the socket still has an inode.
    pub inode: bool,
    /// PID of the owner.
    pub owner: Option<u32>,
    /// `off`, `on`, `keepalive`, `timewait` or `probe`.
    pub timer: String,
}

impl Row {
    /// The TCP rows in the output of `netstat -tanpeo`.
    ///
    /// # Panics
    /// On a row that has other columns, or a program name with a blank.
    pub fn parse_all(output: &str) -> Vec<Self> {
        output
            .lines()
            .filter(|line| line.starts_with("tcp"))
            .map(|line| Self::parse(line).unwrap_or_else(|| panic!("not a row: {line:?}")))
            .collect()
    }

    /// With so many bytes to read.
    #[must_use]
    pub fn receiving(self, recv_q: u32) -> Self {
        Self { recv_q, ..self }
    }

    /// With so many bytes to be acknowledged.
    #[must_use]
    pub fn sending(self, send_q: u32) -> Self {
        Self { send_q, ..self }
    }

    /// With this timer.
    #[must_use]
    pub fn on(self, timer: &str) -> Self {
        let timer = timer.into();
        Self { timer, ..self }
    }

    /// Without a descriptor. Before Linux 6.18 the user came from it.
    #[must_use]
    pub fn orphan(self) -> Self {
        Self {
            uid: if kernel() < (6, 18) { 0 } else { self.uid },
            ..self.request()
        }
    }

    /// Of a request socket, which has its listener's user.
    #[must_use]
    pub fn request(self) -> Self {
        Self {
            inode: false,
            owner: None,
            ..self
        }
    }

    /// Of a minisocket of TIME_WAIT's kind, which has forgotten its user too.
    #[must_use]
    pub fn mini(self) -> Self {
        let row = Self { uid: 0, ..self };
        row.on("timewait").orphan()
    }

    fn parse(line: &str) -> Option<Self> {
        let cells: Vec<_> = line.split_whitespace().collect();
        let [
            proto,
            recv_q,
            send_q,
            local,
            remote,
            state,
            uid,
            inode,
            owner,
            timer,
            _,
        ] = *cells.as_slice()
        else {
            return None;
        };
        let owner = match owner.split_once('/') {
            Some((pid, _)) => Some(pid.parse().ok()?),
            None => None,
        };
        Some(Self {
            proto: proto.into(),
            recv_q: recv_q.parse().ok()?,
            send_q: send_q.parse().ok()?,
            local: local.into(),
            remote: remote.into(),
            state: state.into(),
            uid: uid.parse().ok()?,
            inode: inode != "0",
            owner,
            timer: timer.into(),
        })
    }
}

/// Version of the running kernel: major and minor number.
fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's release");
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|number| number.parse().ok());
    next().zip(next()).expect("two numbers in the release")
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} {} {} {} uid {} inode {} owner {:?} timer {}",
            self.proto,
            self.recv_q,
            self.send_q,
            self.local,
            self.remote,
            self.state,
            self.uid,
            self.inode,
            self.owner,
            self.timer
        )
    }
}
