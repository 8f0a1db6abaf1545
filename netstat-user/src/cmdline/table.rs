//! The one description of netstat's options: parsing, help, the man page and completions read it.

use super::Family;

/// What an option does when it is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A family of that name; `--tcpip` is [`Effect::Broken`].
    Family(Family),
    /// `-A LIST`.
    FamilyList,
    /// `-V`.
    Version,
    /// `-h`.
    Help,
    /// `-?`: usage, as an error.
    Usage,
    /// `--tcpip`: complains, changes nothing.
    Broken,
    /// `-d`: accepted, changes nothing.
    Nothing,
    /// `-Z`.
    Context,
    /// Counted or switched on: see [`Switch`].
    Switch(Switch),
}

/// The options that only set or count something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the long option of that name")]
pub enum Switch {
    Interfaces,
    Route,
    Masquerade,
    Statistics,
    Groups,
    Tcp,
    Sctp,
    Udp,
    UdpLite,
    Raw,
    L2cap,
    Rfcomm,
    Listening,
    All,
    Timers,
    Continuous,
    Extend,
    Programs,
    Verbose,
    Wide,
    Numeric,
    NumericHosts,
    NumericPorts,
    NumericUsers,
    Symbolic,
    Cache,
    Fib,
}

/// One option.
#[derive(Clone, Copy, Debug)]
pub struct Described {
    /// The one-letter form.
    pub short: Option<u8>,
    /// The long form, without dashes.
    pub long: Option<&'static str>,
    /// What it does.
    pub effect: Effect,
    /// The line of the help text, if it has one.
    pub help: Option<&'static str>,
    /// Which long options getopt takes for the same one when an abbreviation fits several.
    pub same: u8,
}

impl Described {
    /// Whether it takes an argument.
    #[must_use]
    pub fn takes_argument(&self) -> bool {
        self.effect == Effect::FamilyList
    }
}

const FAMILY: u8 = 1;

const fn family(long: &'static str, family: Family) -> Described {
    Described {
        short: None,
        long: Some(long),
        effect: Effect::Family(family),
        help: None,
        same: FAMILY,
    }
}

const fn option(short: u8, long: &'static str, effect: Effect) -> Described {
    Described {
        short: Some(short),
        long: Some(long),
        effect,
        help: None,
        same: short,
    }
}

const fn switch(short: u8, long: &'static str, switch: Switch) -> Described {
    option(short, long, Effect::Switch(switch))
}

const fn helped(short: u8, long: &'static str, what: Switch, help: &'static str) -> Described {
    Described {
        help: Some(help),
        ..switch(short, long, what)
    }
}

/// A long option without a letter; `same` is a value that no letter has.
const fn long(long: &'static str, what: Switch, same: u8, help: &'static str) -> Described {
    Described {
        short: None,
        long: Some(long),
        effect: Effect::Switch(what),
        help: Some(help),
        same,
    }
}

const fn short(short: u8, effect: Effect) -> Described {
    Described {
        short: Some(short),
        long: None,
        effect,
        help: None,
        same: short,
    }
}

/// Every option, in the order in which getopt matches abbreviations.
pub const OPTIONS: &[Described] = &[
    family("ax25", Family::Ax25),
    family("x25", Family::X25),
    family("ip", Family::Inet),
    family("ipx", Family::Ipx),
    family("appletalk", Family::Ddp),
    family("netrom", Family::Netrom),
    family("inet", Family::Inet),
    family("inet6", Family::Inet6),
    family("ddp", Family::Ddp),
    family("rose", Family::Rose),
    family("unix", Family::Unix),
    family("bluetooth", Family::Bluetooth),
    Described {
        short: None,
        long: Some("tcpip"),
        effect: Effect::Broken,
        help: None,
        same: FAMILY,
    },
    option(b'V', "version", Effect::Version),
    helped(
        b'i',
        "interfaces",
        Switch::Interfaces,
        "display interface table",
    ),
    option(b'h', "help", Effect::Help),
    helped(b'r', "route", Switch::Route, "display routing table"),
    helped(
        b'M',
        "masquerade",
        Switch::Masquerade,
        "display masqueraded connections",
    ),
    option(b'A', "protocol", Effect::FamilyList),
    switch(b't', "tcp", Switch::Tcp),
    switch(b'S', "sctp", Switch::Sctp),
    switch(b'u', "udp", Switch::Udp),
    switch(b'U', "udplite", Switch::UdpLite),
    switch(b'w', "raw", Switch::Raw),
    option(b'x', "unix", Effect::Family(Family::Unix)),
    switch(b'2', "l2cap", Switch::L2cap),
    switch(b'f', "rfcomm", Switch::Rfcomm),
    helped(
        b'l',
        "listening",
        Switch::Listening,
        "display listening server sockets",
    ),
    helped(
        b'a',
        "all",
        Switch::All,
        "display all sockets (default: connected)",
    ),
    helped(b'o', "timers", Switch::Timers, "display timers"),
    helped(b'c', "continuous", Switch::Continuous, "continuous listing"),
    helped(
        b'e',
        "extend",
        Switch::Extend,
        "display other/more information",
    ),
    helped(
        b'p',
        "programs",
        Switch::Programs,
        "display PID/Program name for sockets",
    ),
    helped(b'v', "verbose", Switch::Verbose, "be verbose"),
    helped(
        b's',
        "statistics",
        Switch::Statistics,
        "display networking statistics (like SNMP)",
    ),
    helped(b'W', "wide", Switch::Wide, "don't truncate IP addresses"),
    helped(b'n', "numeric", Switch::Numeric, "don't resolve names"),
    long(
        "numeric-hosts",
        Switch::NumericHosts,
        2,
        "don't resolve host names",
    ),
    long(
        "numeric-ports",
        Switch::NumericPorts,
        3,
        "don't resolve port names",
    ),
    long(
        "numeric-users",
        Switch::NumericUsers,
        4,
        "don't resolve user names",
    ),
    helped(b'N', "symbolic", Switch::Symbolic, "resolve hardware names"),
    helped(
        b'C',
        "cache",
        Switch::Cache,
        "display routing cache instead of FIB",
    ),
    helped(
        b'F',
        "fib",
        Switch::Fib,
        "display Forwarding Information Base (default)",
    ),
    helped(
        b'g',
        "groups",
        Switch::Groups,
        "display multicast group memberships",
    ),
    Described {
        help: Some("display SELinux security context for sockets"),
        ..option(b'Z', "context", Effect::Context)
    },
    short(b'4', Effect::Family(Family::Inet)),
    short(b'6', Effect::Family(Family::Inet6)),
    short(b'd', Effect::Nothing),
    short(b'?', Effect::Usage),
];

/// The order of the help text: groups of long names, an empty line between them.
pub(super) const HELP: &[&[&str]] = &[
    &["route", "interfaces", "groups", "statistics", "masquerade"],
    &[
        "verbose",
        "wide",
        "numeric",
        "numeric-hosts",
        "numeric-ports",
        "numeric-users",
        "symbolic",
        "extend",
        "programs",
        "timers",
        "continuous",
    ],
    &["listening", "all", "fib", "cache", "context"],
];
