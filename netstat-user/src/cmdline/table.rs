//! The one description of netstat's options: parsing, help, the man page and completions read it.

use super::Family;

/// What an option does when it is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A family of that name; `--tcpip` is [`Effect::Broken`].
    Family(Family),
    /// `-A LIST`.
    FamilyList,
    /// `--netns NAMESPACE`.
    Netns,
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
    Json,
    JsonLines,
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
    /// What it does, in words.
    pub about: &'static str,
    /// Whether the help text has a line for it.
    pub in_help: bool,
    /// Which long options getopt takes for the same one when an abbreviation fits several.
    pub same: u8,
}

impl Described {
    /// Whether it takes an argument.
    #[must_use]
    pub fn takes_argument(&self) -> bool {
        matches!(self.effect, Effect::FamilyList | Effect::Netns)
    }

    /// Whether a user may want to type it: not so if it does nothing, or is a mistake.
    #[must_use]
    pub fn is_useful(&self) -> bool {
        !matches!(
            self.effect,
            Effect::Nothing | Effect::Broken | Effect::Usage
        )
    }
}

const FAMILY: u8 = 1;

const fn described(
    short: Option<u8>,
    long: Option<&'static str>,
    effect: Effect,
    same: u8,
    about: &'static str,
) -> Described {
    Described {
        short,
        long,
        effect,
        about,
        in_help: false,
        same,
    }
}

const fn listed(option: Described) -> Described {
    Described {
        in_help: true,
        ..option
    }
}

const fn family(long: &'static str, family: Family, about: &'static str) -> Described {
    described(None, Some(long), Effect::Family(family), FAMILY, about)
}

const fn option(short: u8, long: &'static str, effect: Effect, about: &'static str) -> Described {
    described(Some(short), Some(long), effect, short, about)
}

const fn switch(short: u8, long: &'static str, what: Switch, about: &'static str) -> Described {
    option(short, long, Effect::Switch(what), about)
}

const fn helped(short: u8, long: &'static str, what: Switch, about: &'static str) -> Described {
    listed(switch(short, long, what, about))
}

/// A long option without a letter; `same` is a value that no letter has.
const fn long(long: &'static str, what: Switch, same: u8, about: &'static str) -> Described {
    listed(described(
        None,
        Some(long),
        Effect::Switch(what),
        same,
        about,
    ))
}

const fn short(short: u8, effect: Effect, about: &'static str) -> Described {
    described(Some(short), None, effect, short, about)
}

/// Every option, in the order in which getopt matches abbreviations.
pub const OPTIONS: &[Described] = &[
    family("ax25", Family::Ax25, "only AX.25 (amateur radio)"),
    family("x25", Family::X25, "only X.25"),
    family("ip", Family::Inet, "only IPv4"),
    family("ipx", Family::Ipx, "only Novell IPX"),
    family("appletalk", Family::Ddp, "only Appletalk"),
    family("netrom", Family::Netrom, "only NET/ROM (amateur radio)"),
    family("inet", Family::Inet, "only IPv4"),
    family("inet6", Family::Inet6, "only IPv6"),
    family("ddp", Family::Ddp, "only Appletalk"),
    family("rose", Family::Rose, "only ROSE (amateur radio)"),
    family("unix", Family::Unix, "only Unix sockets"),
    family("bluetooth", Family::Bluetooth, "only Bluetooth"),
    described(
        None,
        Some("tcpip"),
        Effect::Broken,
        FAMILY,
        "prints an error and changes nothing, as in net-tools",
    ),
    option(
        b'V',
        "version",
        Effect::Version,
        "print the version of net-tools that is imitated",
    ),
    helped(
        b'i',
        "interfaces",
        Switch::Interfaces,
        "display interface table",
    ),
    option(b'h', "help", Effect::Help, "print a summary of the options"),
    helped(b'r', "route", Switch::Route, "display routing table"),
    helped(
        b'M',
        "masquerade",
        Switch::Masquerade,
        "display masqueraded connections",
    ),
    option(
        b'A',
        "protocol",
        Effect::FamilyList,
        "only these address families, with commas between them",
    ),
    switch(b't', "tcp", Switch::Tcp, "only TCP sockets"),
    switch(b'S', "sctp", Switch::Sctp, "only SCTP sockets"),
    switch(b'u', "udp", Switch::Udp, "only UDP sockets"),
    switch(b'U', "udplite", Switch::UdpLite, "only UDP-Lite sockets"),
    switch(b'w', "raw", Switch::Raw, "only raw sockets"),
    option(
        b'x',
        "unix",
        Effect::Family(Family::Unix),
        "only Unix sockets",
    ),
    switch(
        b'2',
        "l2cap",
        Switch::L2cap,
        "only Bluetooth L2CAP (not supported)",
    ),
    switch(
        b'f',
        "rfcomm",
        Switch::Rfcomm,
        "only Bluetooth RFCOMM (not supported)",
    ),
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
    listed(option(
        b'Z',
        "context",
        Effect::Context,
        "display SELinux security context for sockets",
    )),
    short(b'4', Effect::Family(Family::Inet), "only IPv4"),
    short(b'6', Effect::Family(Family::Inet6), "only IPv6"),
    short(b'd', Effect::Nothing, "accepted, without effect"),
    short(b'?', Effect::Usage, "print the summary as an error"),
];

/// Options that net-tools does not have: only at full length, so that every abbreviation means what
/// it means there.
pub const EXTENSIONS: &[Described] = &[
    described(
        None,
        Some("json"),
        Effect::Switch(Switch::Json),
        5,
        "list sockets as one JSON object (docs/json-schema.md)",
    ),
    described(
        None,
        Some("json-lines"),
        Effect::Switch(Switch::JsonLines),
        6,
        "list sockets as JSON, one object a line",
    ),
    described(
        None,
        Some("netns"),
        Effect::Netns,
        7,
        "of another network namespace: a name of ip-netns(8), the id of a process, a path, or all of them",
    ),
];

/// The order of the help text: groups of long names, an empty line between them.
pub const HELP: &[&[&str]] = &[
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
