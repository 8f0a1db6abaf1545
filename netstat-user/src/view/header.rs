//! Titles and column names.

use crate::cmdline::Options;

use super::cell;

/// The width of the security context in headers and rows.
pub(super) const CONTEXT: usize = 50;

/// `Active Internet connections ...` and its columns.
pub fn inet(out: &mut Vec<u8>, options: &Options) {
    out.extend_from_slice(b"Active Internet connections ");
    out.extend_from_slice(which(options));
    out.extend_from_slice(
        b"\nProto Recv-Q Send-Q Local Address           Foreign Address         State      ",
    );
    if extended(options) {
        out.extend_from_slice(b" User       Inode     ");
    }
    owner(out, options);
    if options.timers {
        out.extend_from_slice(b" Timer");
    }
    out.push(b'\n');
}

/// `Active UNIX domain sockets ...` and its columns.
pub fn unix(out: &mut Vec<u8>, options: &Options) {
    out.extend_from_slice(b"Active UNIX domain sockets ");
    out.extend_from_slice(which(options));
    out.extend_from_slice(b"\nProto RefCnt Flags       Type       State         I-Node  ");
    owner(out, options);
    out.extend_from_slice(b" Path\n");
}

/// Whether rows have a user and an inode.
pub(super) fn extended(options: &Options) -> bool {
    options.extend > 0
}

fn which(options: &Options) -> &'static [u8] {
    match (options.all, options.listening) {
        (true, _) => b"(servers and established)",
        (false, true) => b"(only servers)",
        (false, false) => b"(w/o servers)",
    }
}

fn owner(out: &mut Vec<u8>, options: &Options) {
    if options.programs {
        cell::left(out, b" PID/Program name", 21);
    }
    if options.context {
        cell::left(out, b" Security Context", CONTEXT);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(header: fn(&mut Vec<u8>, &Options), options: &Options, expected: Expect) {
        let mut out = Vec::new();
        header(&mut out, options);
        expected.assert_eq(&String::from_utf8_lossy(&out).replace('\n', "$\n"));
    }

    #[test]
    fn headers_follow_the_options() {
        let mut options = Options::default();
        check(
            inet,
            &options,
            expect![[r#"
                Active Internet connections (w/o servers)$
                Proto Recv-Q Send-Q Local Address           Foreign Address         State      $
            "#]],
        );
        options.listening = true;
        options.programs = true;
        check(
            unix,
            &options,
            expect![[r#"
                Active UNIX domain sockets (only servers)$
                Proto RefCnt Flags       Type       State         I-Node   PID/Program name     Path$
            "#]],
        );
        options.all = true;
        options.extend = 2;
        options.timers = true;
        check(
            inet,
            &options,
            expect![[r#"
                Active Internet connections (servers and established)$
                Proto Recv-Q Send-Q Local Address           Foreign Address         State       User       Inode      PID/Program name     Timer$
            "#]],
        );
    }
}
