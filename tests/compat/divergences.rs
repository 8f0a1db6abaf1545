//! The deliberate differences of the README's table, each held against the reference where it can
//! be run at all.

use netstat_tests::fixture::Bench;

const ROW: &str =
    "h\n 0: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000 0 0 77 1\n";

#[test]
fn control_bytes_are_question_marks() {
    Bench::run(|bench| {
        bench.cover_proc();
        bench.write("net/tcp", ROW);
        bench.write("7/cmdline", b"a\x1b[2J\nb\xff\0");
        bench.write("7/fd/x", "");
        bench.link("7/fd/3", "socket:[77]");
        bench.write(
            "net/unix",
            b"Num Inode\nffff888: 2 0 10000 1 1 78 /run/\x1b]0;x\x07\xc3\xa9\xff\n",
        );
        let real = bench.real(&["-lntxp"]);
        assert!(real.contains("7/a\x1b[2J\nb"), "{real:?}");
        let (ours, _) = bench.ours(&["-lntxp"], |_| {});
        assert!(ours.contains("7/a?[2J?b?"), "{ours:?}");
        assert!(ours.contains("/run/?]0;x?\u{e9}?\n"), "{ours:?}");
        let lines = ours.lines().count();
        assert_eq!(lines, 6, "two headers of two lines, two rows: {ours:?}");
        bench.compare(&["-lnt"]);
    });
}

#[test]
fn a_read_error_ends_the_table() {
    Bench::run(|bench| {
        bench.cover_proc();
        // The reference never ends here, so it is not run.
        bench.write("net/tcp/x", "");
        bench.write("net/tcp6", "h\n");
        let (ours, status) = bench.ours(&["-ltn"], |_| {});
        assert_eq!((ours.lines().count(), status), (2, Some(0)), "{ours:?}");
        bench.compare(&["-lun"]);
    });
}

#[test]
fn texts_are_those_of_the_c_locale() {
    Bench::run(|bench| {
        bench.cover_proc();
        bench.write("net/tcp", ROW);
        for arguments in [&["-ltn"][..], &["-h"], &["-r"]] {
            let real = bench.real(arguments);
            for locale in ["C.UTF-8", "de_DE.UTF-8", "fr_FR.UTF-8"] {
                let (ours, _) = bench.ours(arguments, |command| {
                    command.env("LC_ALL", locale).env("LANGUAGE", "de:fr");
                });
                assert_eq!(ours, real, "{arguments:?} {locale}");
            }
            bench.compare(arguments);
        }
    });
}

#[test]
fn a_table_without_its_companion_is_an_error() {
    Bench::run(|bench| {
        bench.cover_proc();
        // The reference crashes.
        bench.write(
            "net/rose_nodes",
            "address    mask n neigh neigh neigh\n2080175520 0010 1 00001\n",
        );
        let (ours, status) = bench.ours(&["-r", "-A", "rose"], |_| {});
        assert_eq!((ours.as_str(), status), ("", Some(1)));
        bench.compare(&["-r", "-A", "ax25"]);
    });
}
