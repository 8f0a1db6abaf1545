//! Arguments to options, strictly from left to right.

use super::{
    Families, Family, JsonForm, Mode, Options, Protocols,
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
    let called = argv0.rsplit(|byte| *byte == b'/').next();
    let netstat = called == Some(b"netstat");
    for step in Getopt::new(args, around.posixly_correct, netstat) {
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
            Effect::Netns => self.options.netns = Some(argument.to_vec()),
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
            Switch::Json => self.options.json = Some(JsonForm::Document),
            Switch::JsonLines => self.options.json = Some(JsonForm::Lines),
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
