//! The pages, in roff.

use std::io;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use netstat_user::{
    cli::Cli,
    cmdline::{
        Family,
        table::{Described, EXTENSIONS, Effect, OPTIONS, Switch},
    },
};
use roff::{Inline, Roff, bold, italic, roman};

use crate::PROGRAM;

const SOURCE: &str = concat!("netstat-bpf ", env!("CARGO_PKG_VERSION"));
/// When what the pages say was last changed; not the day of the build, which would make each build
/// another one.
const DATE: &str = "2026-11-23";
const MANUAL: &str = "User Commands";

/// Under which heading an option stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    Report,
    Selection,
    Rows,
    Cells,
    Form,
    Other,
}

/// The groups in their order, with headings.
const GROUPS: [(Group, &str); 6] = [
    (Group::Report, "What to print (default: sockets)"),
    (Group::Selection, "Which protocols and families"),
    (Group::Rows, "Which rows, and how often"),
    (Group::Cells, "What a row shows"),
    (Group::Form, "Not in net-tools (no abbreviations)"),
    (Group::Other, "Other"),
];

fn group(option: &Described) -> Group {
    match option.effect {
        Effect::Family(_) | Effect::FamilyList | Effect::Broken => Group::Selection,
        Effect::Version | Effect::Help | Effect::Usage | Effect::Nothing => Group::Other,
        Effect::Context => Group::Cells,
        Effect::Netns => Group::Form,
        Effect::Switch(switch) => match switch {
            Switch::Interfaces
            | Switch::Route
            | Switch::Masquerade
            | Switch::Statistics
            | Switch::Groups => Group::Report,
            Switch::Tcp
            | Switch::Sctp
            | Switch::Udp
            | Switch::UdpLite
            | Switch::Raw
            | Switch::L2cap
            | Switch::Rfcomm => Group::Selection,
            Switch::Listening
            | Switch::All
            | Switch::Continuous
            | Switch::Cache
            | Switch::Fib
            | Switch::Verbose => Group::Rows,
            Switch::Timers
            | Switch::Extend
            | Switch::Programs
            | Switch::Wide
            | Switch::Numeric
            | Switch::NumericHosts
            | Switch::NumericPorts
            | Switch::NumericUsers
            | Switch::Symbolic => Group::Cells,
            Switch::Json | Switch::JsonLines => Group::Form,
        },
    }
}

/// A page that is being written.
struct Page(Roff);

impl Page {
    fn section(&mut self, title: &str) -> &mut Self {
        self.0.control("SH", [title]);
        self
    }

    fn text(&mut self, inlines: impl Into<Vec<Inline>>) -> &mut Self {
        self.0.text(inlines);
        self
    }

    fn paragraph(&mut self, text: &str) -> &mut Self {
        self.0.control("PP", []).text([roman(text)]);
        self
    }

    /// A term, and what it means.
    fn item(&mut self, term: Vec<Inline>, meaning: &str) -> &mut Self {
        self.0
            .control("TP", [])
            .text(term)
            .text([roman(meaning.trim_end_matches('.'))]);
        self
    }
}

/// netstat-bpf(1).
pub(crate) fn main() -> String {
    let mut page = Page(Roff::new());
    let title = PROGRAM.to_uppercase();
    page.0
        .control("TH", [title.as_str(), "1", DATE, SOURCE, MANUAL]);
    page.section("NAME")
        .text([roman(format!("{PROGRAM} - netstat, fed by eBPF"))]);
    page.section("SYNOPSIS").text([
        bold(PROGRAM),
        roman(" ["),
        italic("netstat's options"),
        roman("]"),
    ]);
    page.0.control("br", []);
    page.text([
        bold(PROGRAM),
        roman(" "),
        italic("COMMAND"),
        roman(" ["),
        italic("options"),
        roman("]"),
    ]);
    description(&mut page);
    commands(&mut page);
    options(&mut page);
    end(&mut page);
    page.0.render()
}

fn description(page: &mut Page) {
    page.section("DESCRIPTION").text([roman(
        "Prints the sockets of this network namespace, routes, interfaces, multicast groups or \
         protocol counters. The command line, the output and the exit statuses are those of \
         netstat from net-tools 2.10.",
    )]);
    page.paragraph(
        "Behind TCP's rows is a table that BPF programs in the kernel keep right. With \
         --continuous it is filled once, and no later round reads /proc/net/tcp or walks \
         /proc/PID/fd. Without the rights for BPF the same bytes are read from /proc.",
    );
    page.paragraph(
        "A command's word is known only as the first argument, and not when the program is \
         called netstat.",
    );
}

fn commands(page: &mut Page) {
    page.section("COMMANDS");
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        let about = command.get_about().map(ToString::to_string);
        let about = about.unwrap_or_default();
        page.item(
            vec![bold(name)],
            &format!("{}. See {PROGRAM}-{name}(1)", about.trim_end_matches('.')),
        );
    }
}

fn options(page: &mut Page) {
    page.section("OPTIONS OF NETSTAT").text([roman(
        "One-letter options may be bundled, long ones cut to any prefix that fits only one. \
         Operands are ignored.",
    )]);
    for (wanted, title) in GROUPS {
        page.0.control("SS", [title]);
        let options = OPTIONS.iter().chain(EXTENSIONS);
        for option in options.filter(|option| group(option) == wanted) {
            if option.effect == Effect::FamilyList {
                let words: Vec<_> = Family::WORDS.iter().map(|(word, _)| *word).collect();
                let meaning = format!("{}: {}", option.about, words.join(", "));
                page.item(forms(option), &meaning);
            } else {
                page.item(forms(option), option.about);
            }
        }
    }
}

fn forms(option: &Described) -> Vec<Inline> {
    let mut forms = Vec::new();
    if let Some(letter) = option.short {
        forms.push(bold(format!("-{}", char::from(letter))));
    }
    if let Some(long) = option.long {
        if !forms.is_empty() {
            forms.push(roman(", "));
        }
        forms.push(bold(format!("--{long}")));
    }
    if option.takes_argument() {
        let value = match option.effect {
            Effect::Netns => "NAMESPACE",
            _ => "LIST",
        };
        forms.extend([roman(" "), italic(value)]);
    }
    forms
}

fn end(page: &mut Page) {
    page.section("ENVIRONMENT");
    for (name, meaning) in [
        (
            "NETSTAT_BPF_SOURCE",
            "proc or kernel: where a listing of TCP takes its rows from. By default the faster one",
        ),
        (
            "NETSTAT_BPF_DEBUG",
            "1 turns on the log statements inside the BPF programs",
        ),
        (
            "NETSTAT_BPF_RING_BYTES",
            "Size of the ring of events: a power of two, 16777216 by default",
        ),
        (
            "NETSTAT_BPF_HALF_OPEN_BUDGET",
            "How many events of half-open connections each CPU may send in 134 ms",
        ),
        (
            "POSIXLY_CORRECT",
            "If set, the first operand ends netstat's options",
        ),
    ] {
        page.item(vec![bold(name)], meaning);
    }
    page.section("EXIT STATUS");
    for (status, meaning) in [
        ("0", "Success, also with empty output"),
        (
            "1",
            "What was asked for is not there: a family, a protocol, statistics, SELinux; or a \
             command failed",
        ),
        ("3", "A mistake on netstat's command line"),
        (
            "255",
            "A table could not be opened for another reason than that it is not there",
        ),
    ] {
        page.item(vec![bold(status)], meaning);
    }
    page.section("DIFFERENCES FROM NETSTAT").text([roman(
        "Control bytes and invalid UTF-8 in names are printed as `?', one for each byte, so that \
         a name cannot forge a row or drive a terminal. Texts are those of the C locale. With \
         --continuous, rows of sockets keep their places from round to round. The list is in the \
         README.",
    )]);
    page.section("SEE ALSO");
    let mut others: Vec<Inline> = Vec::new();
    let own = Cli::command();
    let own = own
        .get_subcommands()
        .map(|command| (format!("{PROGRAM}-{}", command.get_name()), "1"));
    let foreign = [
        ("netstat", "8"),
        ("ss", "8"),
        ("proc", "5"),
        ("capabilities", "7"),
    ];
    let foreign = foreign.map(|(name, section)| (name.to_owned(), section));
    for (name, section) in own.chain(foreign) {
        if !others.is_empty() {
            others.push(roman(", "));
        }
        others.extend([bold(name), roman(format!("({section})"))]);
    }
    page.text(others);
}

/// The page of one subcommand.
pub(crate) fn subcommand(command: &Command, name: &str) -> io::Result<Vec<u8>> {
    let full = format!("{PROGRAM} {}", command.get_name());
    let command = command
        .clone()
        .display_name(name.to_owned())
        .bin_name(full)
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .disable_help_subcommand(true);
    let mut page = Vec::new();
    Man::new(command)
        .title(name.to_uppercase())
        .date(DATE)
        .section("1")
        .source(SOURCE)
        .manual(MANUAL)
        .render(&mut page)?;
    Ok(page)
}
