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

    /// The words of `-A LIST`.
    pub const WORDS: [(&str, Self); 16] = [
        ("inet", Self::Inet),
        ("inet6", Self::Inet6),
        ("unix", Self::Unix),
        ("ax25", Self::Ax25),
        ("netrom", Self::Netrom),
        ("rose", Self::Rose),
        ("x25", Self::X25),
        ("ipx", Self::Ipx),
        ("ddp", Self::Ddp),
        ("appletalk", Self::Ddp),
        ("bluetooth", Self::Bluetooth),
        ("econet", Self::Econet),
        ("ash", Self::Ash),
        ("ip", Self::Inet),
        ("ip6", Self::Inet6),
        ("tcpip", Self::Inet),
    ];

    /// A word of `-A LIST`.
    #[must_use]
    pub fn from_word(word: &[u8]) -> Option<Self> {
        let mut words = Self::WORDS.iter();
        words
            .find(|(known, _)| known.as_bytes() == word)
            .map(|&(_, family)| family)
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
