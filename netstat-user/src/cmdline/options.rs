//! What was asked for, once every option is read.

use super::{Families, Family};

/// Which report to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Sockets and multicast groups.
    #[default]
    Sockets,
    /// `-r`
    Route,
    /// `-i`
    Interfaces,
    /// `-s`
    Statistics,
    /// `-M`
    Masquerade,
}

/// What is printed as numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numeric {
    /// Addresses.
    pub hosts: bool,
    /// Ports.
    pub ports: bool,
    /// User ids.
    pub users: bool,
}

/// The transport protocols that are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the long option of that name")]
pub struct Protocols {
    pub tcp: bool,
    pub udp: bool,
    pub udplite: bool,
    pub sctp: bool,
    pub raw: bool,
}

impl Protocols {
    /// All five.
    pub const ALL: Self = Self {
        tcp: true,
        udp: true,
        udplite: true,
        sctp: true,
        raw: true,
    };

    /// Whether at least one is set.
    #[must_use]
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

/// How JSON is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonForm {
    /// One object a snapshot.
    Document,
    /// One object a socket, between a head and an end.
    Lines,
}

/// A netstat command line, read and completed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Which report.
    pub mode: Mode,
    /// `-a`
    pub all: bool,
    /// `-l`
    pub listening: bool,
    /// `-n` and `--numeric-*`
    pub numeric: Numeric,
    /// `-N`
    pub symbolic: bool,
    /// `-W`
    pub wide: bool,
    /// How many times `-e` was given.
    pub extend: u32,
    /// `-p`, also set by `-Z`
    pub programs: bool,
    /// `-Z`
    pub context: bool,
    /// `-o`
    pub timers: bool,
    /// `-c`
    pub continuous: bool,
    /// `-v`
    pub verbose: bool,
    /// `-g`
    pub groups: bool,
    /// `-F`
    pub fib: bool,
    /// `-C`
    pub cache: bool,
    /// The protocols to show; all if a family or `-s` was given and no protocol.
    pub protocols: Protocols,
    /// No protocol was named: a missing table is not worth a message.
    pub unnamed_protocols: bool,
    /// The families.
    pub families: Families,
    /// `-2`, or all of Bluetooth.
    pub l2cap: bool,
    /// `-f`, or all of Bluetooth.
    pub rfcomm: bool,
    /// `--json` or `--json-lines`.
    pub json: Option<JsonForm>,
    /// `--netns`: a name, a process id, a path, or `all`; untrusted bytes.
    pub netns: Option<Vec<u8>>,
    /// Something was selected, so that the rest is not shown.
    pub selected: bool,
}

impl Options {
    /// Fills in what the given options imply, in netstat's order.
    pub(super) fn complete(&mut self) {
        let inet = |families: &Families| families.has(Family::Inet) || families.has(Family::Inet6);
        let wants_protocols = inet(&self.families) || self.mode == Mode::Statistics;
        if wants_protocols && !self.protocols.any() {
            self.unnamed_protocols = true;
            self.protocols = Protocols::ALL;
        }
        if (self.protocols.any() || self.groups) && !inet(&self.families) {
            self.families.set(Family::Inet);
            self.families.set(Family::Inet6);
        }
        if self.families.has(Family::Bluetooth) && !self.l2cap && !self.rfcomm {
            self.l2cap = true;
            self.rfcomm = true;
        }
        let sections = [
            Family::Unix,
            Family::Ipx,
            Family::Ax25,
            Family::Netrom,
            Family::X25,
        ];
        self.selected = self.protocols.any()
            || self.groups
            || self.l2cap
            || self.rfcomm
            || self.families.has(Family::Rose)
            || sections.into_iter().any(|family| self.families.has(family));
    }

    /// Whether tables over IPv4 are read.
    #[must_use]
    pub fn ipv4(&self) -> bool {
        !self.selected || self.families.has(Family::Inet)
    }

    /// Whether tables over IPv6 are read.
    #[must_use]
    pub fn ipv6(&self) -> bool {
        !self.selected || self.families.has(Family::Inet6)
    }

    /// Whether a section is shown that belongs to a family alone.
    #[must_use]
    pub fn section(&self, family: Family) -> bool {
        !self.selected || self.families.has(family)
    }
}
