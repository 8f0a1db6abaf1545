//! The command line as the reference reads it.

use expect_test::{Expect, expect};

use super::{Family, JsonForm, Mode, Next, Options, Parsed, Protocols, Surroundings, parse};

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
fn what_net_tools_lacks_has_no_abbreviation() {
    assert_eq!(options("-t --json").json, Some(JsonForm::Document));
    assert_eq!(options("--json-lines -n").json, Some(JsonForm::Lines));
    assert_eq!(options("-A inet").json, None);
    for word in ["--j", "--jso", "--json-", "--json-line", "--jsonl"] {
        check_mistake(word);
    }
    assert_eq!(options("-- --json").json, None);
}

#[track_caller]
fn check_mistake(word: &str) {
    let parsed = parsed(word, Surroundings::default());
    let told = String::from_utf8_lossy(&parsed.stderr).into_owned();
    let expected = format!("unrecognized option '{word}'");
    assert!(told.contains(&expected), "{word}: {told}");
    assert_eq!(parsed.next, Next::Exit(3), "{word}");
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

#[test]
fn another_namespace_is_named_by_the_whole_word() {
    let netns = |argv0: &[u8], args: &[&str]| {
        let args: Vec<_> = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        match parse(argv0, &args, Surroundings::default()).next {
            Next::Run(options) => Ok(options.netns),
            Next::Exit(status) => Err(status),
        }
    };
    let named = Ok(Some(b"x".to_vec()));
    assert_eq!(netns(b"netstat-bpf", &["-a", "--netns", "x", "-n"]), named);
    assert_eq!(netns(b"netstat-bpf", &["--netns=x"]), named);
    assert_eq!(netns(b"netstat-bpf", &["--", "--netns=x"]), Ok(None));
    assert_eq!(netns(b"netstat-bpf", &["--net"]), Ok(None), "--netrom");
    for (argv0, args) in [
        (&b"netstat-bpf"[..], &["--netns"][..]),
        (b"netstat-bpf", &["--netn", "x"]),
        (b"netstat", &["--netns", "x"]),
        (b"/bin/netstat", &["--netns=x"]),
    ] {
        assert_eq!(netns(argv0, args), Err(3), "{args:?}");
    }
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
