//! Address families: their names on the command line and the set that was asked for.

/// An address family that netstat knows by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the command line")]
pub enum Family {
    Ax25,
    Inet,
    Inet6,
    Ipx,
    Ddp,
    Netrom,
    Unix,
    Econet,
    X25,
    Ash,
    Rose,
    Bluetooth,
}

impl Family {
    /// The name in messages and in the list that `-r` and `-s` read.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ax25 => "ax25",
            Self::Inet => "inet",
            Self::Inet6 => "inet6",
            Self::Ipx => "ipx",
            Self::Ddp => "ddp",
            Self::Netrom => "netrom",
            Self::Unix => "unix",
            Self::Econet => "ec",
            Self::X25 => "x25",
            Self::Ash => "ash",
            Self::Rose => "rose",
            Self::Bluetooth => "bluetooth",
        }
    }

    /// A word of `-A LIST`.
    #[must_use]
    pub fn from_word(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"ax25" => Self::Ax25,
            b"ip" | b"inet" | b"tcpip" => Self::Inet,
            b"ip6" | b"inet6" => Self::Inet6,
            b"ipx" => Self::Ipx,
            b"appletalk" | b"ddp" => Self::Ddp,
            b"netrom" => Self::Netrom,
            b"unix" => Self::Unix,
            b"econet" => Self::Econet,
            b"x25" => Self::X25,
            b"ash" => Self::Ash,
            b"rose" => Self::Rose,
            b"bluetooth" => Self::Bluetooth,
            _ => return None,
        })
    }
}

/// The families that were asked for: which, and in which order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Families {
    list: Vec<Family>,
    /// Bytes of the comma-joined list.
    length: usize,
    set: u16,
}

impl Families {
    /// The longest list, joined with commas.
    const LONGEST: usize = 255;

    /// Adds a family; false if the list is too long to take its name (it still counts as asked
    /// for).
    pub(super) fn add(&mut self, family: Family) -> bool {
        self.set(family);
        let length = self.length + family.name().len() + usize::from(!self.list.is_empty());
        if length > Self::LONGEST {
            return false;
        }
        self.length = length;
        self.list.push(family);
        true
    }

    /// Counts a family as asked for without naming it in the list.
    pub(super) fn set(&mut self, family: Family) {
        self.set |= 1 << family as u16;
    }

    /// Whether this family was asked for or is implied.
    #[must_use]
    pub fn has(&self, family: Family) -> bool {
        self.set & (1 << family as u16) != 0
    }

    /// The families named on the command line, in that order, with repeats.
    #[must_use]
    pub fn listed(&self) -> &[Family] {
        &self.list
    }
}
