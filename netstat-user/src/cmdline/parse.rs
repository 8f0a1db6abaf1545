//! Arguments to options, strictly from left to right.

use super::{
    Families, Family, Mode, Options, Protocols,
    getopt::{Getopt, Step},
    table::{Effect, Switch},
    text,
};

/// What parsing must know of the world.
#[derive(Clone, Copy, Debug, Default)]
pub struct Surroundings {
    /// `POSIXLY_CORRECT` is set: the first operand ends the options.
    pub posixly_correct: bool,
    /// SELinux is enabled, so that `-Z` may be used.
    pub selinux: bool,
}

/// What a command line says: text to print, then what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// For standard output.
    pub stdout: Vec<u8>,
    /// For standard error.
    pub stderr: Vec<u8>,
    /// What follows.
    pub next: Next,
}

/// What follows a parsed command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Print the report.
    Run(Box<Options>),
    /// End with this status.
    Exit(u8),
}

/// Parses the arguments after argv[0], which `argv0` gives for messages.
#[must_use]
pub fn parse(argv0: &[u8], args: &[Vec<u8>], around: Surroundings) -> Parsed {
    let mut reader = Reader::default();
    for step in Getopt::new(args, around.posixly_correct) {
        let exit = match step {
            Step::Found(option, argument) => reader.apply(option.effect, argument, around),
            Step::Mistake(text) => {
                reader.complain(&[argv0, b": ", &text, b"\n"]);
                Some(reader.usage_error())
            }
        };
        if let Some(status) = exit {
            return reader.end(Next::Exit(status));
        }
    }
    match reader.finish() {
        Ok(options) => reader.end(Next::Run(Box::new(options))),
        Err(status) => reader.end(Next::Exit(status)),
    }
}

#[derive(Default)]
struct Reader {
    options: Options,
    modes: Vec<Mode>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

impl Reader {
    /// The status to end with, if the option ends the program.
    fn apply(&mut self, effect: Effect, argument: &[u8], around: Surroundings) -> Option<u8> {
        match effect {
            Effect::Family(family) => self.family(family),
            Effect::FamilyList => return self.family_list(argument),
            Effect::Switch(switch) => self.switch(switch),
            Effect::Nothing => {}
            Effect::Broken => {
                self.complain(&[b"netstat.c: Internal Error `longopts 1 range'.\n"]);
            }
            Effect::Version => {
                self.stdout.extend_from_slice(text::VERSION.as_bytes());
                return Some(0);
            }
            Effect::Help => {
                self.stdout.extend_from_slice(text::usage().as_bytes());
                self.complain(&[text::FAMILIES.as_bytes()]);
                return Some(0);
            }
            Effect::Usage => return Some(self.usage_error()),
            Effect::Context if around.selinux => {
                self.options.programs = true;
                self.options.context = true;
            }
            Effect::Context => {
                self.complain(&[b"SELinux is not enabled on this machine.\n"]);
                return Some(1);
            }
        }
        None
    }

    fn switch(&mut self, switch: Switch) {
        let Options {
            protocols:
                Protocols {
                    tcp,
                    udp,
                    udplite,
                    sctp,
                    raw,
                },
            numeric,
            ..
        } = &mut self.options;
        match switch {
            Switch::Interfaces => self.modes.push(Mode::Interfaces),
            Switch::Route => self.modes.push(Mode::Route),
            Switch::Masquerade => self.modes.push(Mode::Masquerade),
            Switch::Statistics => self.modes.push(Mode::Statistics),
            Switch::Groups => self.options.groups = true,
            Switch::Tcp => *tcp = true,
            Switch::Sctp => *sctp = true,
            Switch::Udp => *udp = true,
            Switch::UdpLite => *udplite = true,
            Switch::Raw => *raw = true,
            Switch::L2cap => self.options.l2cap = true,
            Switch::Rfcomm => self.options.rfcomm = true,
            Switch::Listening => self.options.listening = true,
            Switch::All => self.options.all = true,
            Switch::Timers => self.options.timers = true,
            Switch::Continuous => self.options.continuous = true,
            Switch::Extend => self.options.extend = self.options.extend.saturating_add(1),
            Switch::Programs => self.options.programs = true,
            Switch::Verbose => self.options.verbose = true,
            Switch::Wide => self.options.wide = true,
            Switch::Numeric => {
                numeric.hosts = true;
                numeric.ports = true;
                numeric.users = true;
            }
            Switch::NumericHosts => numeric.hosts = true,
            Switch::NumericPorts => numeric.ports = true,
            Switch::NumericUsers => numeric.users = true,
            Switch::Symbolic => self.options.symbolic = true,
            Switch::Cache => self.options.cache = true,
            Switch::Fib => self.options.fib = true,
        }
    }

    fn family(&mut self, family: Family) {
        if !self.options.families.add(family) {
            self.complain(&[b"Too much address family arguments.\n"]);
        }
    }

    fn family_list(&mut self, list: &[u8]) -> Option<u8> {
        const LONGEST: usize = 255;
        for word in list[..list.len().min(LONGEST)].split(|&byte| byte == b',') {
            let Some(family) = Family::from_word(word) else {
                self.complain(&[b"Unknown address family `", word, b"'.\n"]);
                return Some(1);
            };
            self.family(family);
        }
        None
    }

    fn finish(&mut self) -> Result<Options, u8> {
        match *self.modes.as_slice() {
            [] => {}
            [mode] => self.options.mode = mode,
            _ => return Err(self.usage_error()),
        }
        let mut options = std::mem::take(&mut self.options);
        options.complete();
        Ok(options)
    }

    fn usage_error(&mut self) -> u8 {
        const USAGE: u8 = 3;
        self.complain(&[text::usage().as_bytes(), text::FAMILIES.as_bytes()]);
        USAGE
    }

    fn complain(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.stderr.extend_from_slice(part);
        }
    }

    fn end(self, next: Next) -> Parsed {
        Parsed {
            stdout: self.stdout,
            stderr: self.stderr,
            next,
        }
    }
}

impl Families {
    /// The names as listed, joined with commas.
    #[must_use]
    pub fn joined(&self) -> String {
        self.listed()
            .iter()
            .map(|family| family.name())
            .collect::<Vec<_>>()
            .join(",")
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn parsed(line: &str, around: Surroundings) -> Parsed {
        let args: Vec<_> = line
            .split_whitespace()
            .map(|arg| arg.as_bytes().to_vec())
            .collect();
        parse(b"/bin/netstat", &args, around)
    }

    fn options(line: &str) -> Options {
        let parsed = parsed(line, Surroundings::default());
        assert!(
            parsed.stdout.is_empty() && parsed.stderr.is_empty(),
            "{line}: {parsed:?}"
        );
        match parsed.next {
            Next::Run(options) => *options,
            Next::Exit(status) => panic!("{line}: status {status}"),
        }
    }

    /// The first line of each stream, and the status.
    fn check(line: &str, expected: Expect) {
        let parsed = parsed(line, Surroundings::default());
        let first = |text: &[u8]| {
            String::from_utf8_lossy(text)
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned()
        };
        let status = match parsed.next {
            Next::Run(_) => "runs".to_owned(),
            Next::Exit(status) => status.to_string(),
        };
        let (out, err) = (first(&parsed.stdout), first(&parsed.stderr));
        expected.assert_eq(&format!("{status}: {out}{err}"));
    }

    #[test]
    fn mistakes_are_told_in_getopts_words() {
        check("-k", expect!["3: /bin/netstat: invalid option -- 'k'"]);
        check("-tk", expect!["3: /bin/netstat: invalid option -- 'k'"]);
        check(
            "-A",
            expect!["3: /bin/netstat: option requires an argument -- 'A'"],
        );
        check(
            "--bogus=1",
            expect!["3: /bin/netstat: unrecognized option '--bogus=1'"],
        );
        check(
            "--prot",
            expect!["3: /bin/netstat: option '--protocol' requires an argument"],
        );
        check(
            "--route=1",
            expect!["3: /bin/netstat: option '--route' doesn't allow an argument"],
        );
        check("-A foo -k", expect!["1: Unknown address family `foo'."]);
        check("-A inet,", expect!["1: Unknown address family `'."]);
        check("-Z", expect!["1: SELinux is not enabled on this machine."]);
        check(
            "--tcpip",
            expect!["runs: netstat.c: Internal Error `longopts 1 range'."],
        );
        check(
            "-?",
            expect![
                "3: usage: netstat [-vWeenNcCF] [<Af>] -r         netstat {-V|--version|-h|--help}"
            ],
        );
        check(
            "-rr",
            expect![
                "3: usage: netstat [-vWeenNcCF] [<Af>] -r         netstat {-V|--version|-h|--help}"
            ],
        );
        check(
            "-is",
            expect![
                "3: usage: netstat [-vWeenNcCF] [<Af>] -r         netstat {-V|--version|-h|--help}"
            ],
        );
        check("-Vh", expect!["0: net-tools 2.10"]);
        check(
            "-hV",
            expect![
                "0: usage: netstat [-vWeenNcCF] [<Af>] -r         netstat {-V|--version|-h|--help}    inet (DARPA Internet) inet6 (IPv6) ax25 (AMPR AX.25) "
            ],
        );
    }

    /// What an abbreviation may mean, or the option that it is.
    #[track_caller]
    fn abbreviation(text: &str, expected: &str) {
        let parsed = parsed(text, Surroundings::default());
        let err = String::from_utf8_lossy(&parsed.stderr);
        let first = err.lines().next().unwrap_or_default();
        let start = format!("/bin/netstat: option '{text}' is ambiguous; possibilities: ");
        assert_eq!(
            first.strip_prefix(&start).unwrap_or_default(),
            expected,
            "{text}: {first}"
        );
    }

    #[test]
    fn abbreviations_are_getopts() {
        abbreviation("--a", "'--ax25' '--all'");
        abbreviation("--c", "'--continuous' '--cache' '--context'");
        abbreviation("--i", "'--ip' '--interfaces'");
        abbreviation("--in", "'--inet' '--interfaces'");
        abbreviation("--l", "'--l2cap' '--listening'");
        abbreviation(
            "--n",
            "'--netrom' '--numeric' '--numeric-hosts' '--numeric-ports' '--numeric-users'",
        );
        abbreviation(
            "--num",
            "'--numeric' '--numeric-hosts' '--numeric-ports' '--numeric-users'",
        );
        abbreviation("--pro", "'--protocol' '--programs'");
        abbreviation("--r", "'--rose' '--route' '--raw' '--rfcomm'");
        abbreviation("--ro", "'--rose' '--route'");
        abbreviation("--s", "'--sctp' '--statistics' '--symbolic'");
        abbreviation("--t", "'--tcpip' '--tcp' '--timers'");
        abbreviation("--tc", "'--tcpip' '--tcp'");
        abbreviation("--u", "'--unix' '--udp' '--udplite' '--unix'");
        abbreviation("--un", "'--unix' '--unix'");
        abbreviation("--v", "'--version' '--verbose'");
        assert!(options("--prog").programs);
        assert_eq!(options("--st").mode, Mode::Statistics);
        assert_eq!(options("--ap").families.joined(), "ddp");
        assert_eq!(options("--d").families.joined(), "ddp");
        assert_eq!(options("--ine").families.joined(), "inet");
        assert_eq!(options("--ne").families.joined(), "netrom");
        assert_eq!(options("--b").families.joined(), "bluetooth");
        assert_eq!(options("--x").families.joined(), "x25");
        assert_eq!(options("--m").mode, Mode::Masquerade);
        assert!(options("--e").extend == 1 && options("--w").wide && options("--g").groups);
    }

    #[test]
    fn operands_are_ignored_and_may_end_the_options() {
        assert_eq!(options("-t foo -n --"), options("-tn"));
        assert_eq!(options("-t -- -n"), options("-t"));
        assert_eq!(options("- -l"), options("-l"));
        let posix = Surroundings {
            posixly_correct: true,
            ..Surroundings::default()
        };
        let next = parsed("foo -t", posix).next;
        assert_eq!(next, Next::Run(Box::default()));
    }

    #[test]
    fn families_are_listed_in_order_and_imply_protocols() {
        let options = options("-A inet,x25 -6 -xAip6");
        assert_eq!(options.families.joined(), "inet,x25,inet6,unix,inet6");
        assert!(options.unnamed_protocols && options.protocols == Protocols::ALL);
    }

    #[test]
    fn what_is_not_named_follows() {
        let plain = options("-an");
        assert!(!plain.selected && plain.ipv4() && plain.ipv6() && plain.section(Family::Unix));
        let tcp = options("-t");
        assert!(tcp.selected && tcp.ipv4() && tcp.ipv6() && !tcp.section(Family::Unix));
        assert!(tcp.protocols.tcp && !tcp.protocols.udp && !tcp.unnamed_protocols);
        let tcp4 = options("-t4");
        assert!(tcp4.ipv4() && !tcp4.ipv6());
        let groups = options("-g6");
        assert!(groups.protocols == Protocols::ALL && groups.ipv6() && !groups.ipv4());
        let bluetooth = options("-A bluetooth");
        assert!(bluetooth.l2cap && bluetooth.rfcomm && bluetooth.selected);
        assert!(!options("--ddp").selected);
    }

    #[test]
    fn the_context_needs_selinux() {
        let around = Surroundings {
            selinux: true,
            ..Surroundings::default()
        };
        let Next::Run(options) = parsed("-Z", around).next else {
            panic!("runs");
        };
        assert!(options.programs && options.context);
    }

    #[test]
    fn a_list_of_families_has_an_end() {
        let many = "-Ainet,inet,inet,inet,inet,inet,inet,inet,inet,inet ".repeat(6);
        let parsed = parsed(&many, Surroundings::default());
        let err = String::from_utf8_lossy(&parsed.stderr);
        assert_eq!(err, "Too much address family arguments.\n".repeat(60 - 51));
        let Next::Run(options) = parsed.next else {
            panic!("runs");
        };
        assert_eq!(options.families.listed().len(), 51);
    }

    proptest::proptest! {
        #[test]
        fn any_arguments_run_or_end(args: Vec<Vec<u8>>) {
            let parsed = parse(b"netstat", &args, Surroundings::default());
            match parsed.next {
                Next::Run(_) => proptest::prop_assert!(parsed.stdout.is_empty()),
                Next::Exit(status) => {
                    proptest::prop_assert!(matches!(status, 0 | 1 | 3));
                    proptest::prop_assert!(!parsed.stdout.is_empty() || !parsed.stderr.is_empty());
                }
            }
        }
    }
}
