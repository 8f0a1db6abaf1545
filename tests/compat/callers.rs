//! Who asks, and with which rights: random lines of options over sockets of all kinds as root and as
//! nobody, user namespaces, root without rights, a /proc that hides.

use std::{
    net::TcpListener,
    os::{
        fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
        unix::{net::UnixListener, process::CommandExt as _},
    },
    process::{Child, Command},
};

use netstat_tests::{
    fixture::{Bench, Random, cases},
    wait,
};
use nix::mount::{MsFlags, mount};

use crate::scenarios::{Sockets, ip};

const NOBODY: u32 = 65534;
/// Another user without rights, for a test of its own: what one user's processes hold, all of them see, and
/// tests run at the same time.
const SOMEBODY: u32 = 65533;
/// And another.
const ANYBODY: u32 = 65532;

/// Runs the program as a user. Not by the child of the test itself: it is started with a pair of Unix
/// sockets, which the first program may still see.
fn as_user(id: u32) -> String {
    format!(
        "cd /; exec setpriv --reuid={id} --regid={id} --clear-groups bash -c 'exec -a netstat \"$0\" \"$@\"' \
         \"$0\" \"$@\""
    )
}

/// Lines about owners and users.
const LINES: [&[&str]; 6] = [
    &["-antp"],
    &["-anpe"],
    &["-ate", "--numeric-hosts", "--numeric-ports"],
    &["-xap"],
    &["-lnup"],
    &["-anwUp"],
];

/// Options and an operand or none; a bundle of nothing is an operand.
fn line(random: &mut Random) -> Vec<String> {
    let first = random.pick(&["a", "l", "", "t", "u", "x", "n", "p"]);
    let mut words = vec![random.options(first, "alnepoWNtuUwx46vg")];
    if random.once_in(3) {
        let more = [
            "--numeric-hosts",
            "--numeric-ports",
            "--numeric-users",
            "-Ainet,unix",
            "--inet6",
            "-Addp",
            "5",
            "-S",
        ];
        words.push(more[random.below(more.len())].to_owned());
    }
    words
}

#[test]
fn random_lines_over_all_kinds_of_sockets() {
    Bench::run(|bench| {
        ip("link set lo up");
        bench.let_all_run_ours();
        // A server that is not there answers by ICMP, which fills the queues of raw sockets.
        bench.cover_file(
            "/etc/nsswitch.conf",
            "passwd: files\nhosts: files\nnetworks: files\n",
        );
        let _sockets = Sockets::open();
        let directory = tempfile::tempdir().expect("a directory");
        let _unix = ["one", "two words", "n\u{e4}me"]
            .map(|name| UnixListener::bind(directory.path().join(name)).expect("bind"));
        let _holder = Holder::of(bench, SOMEBODY);
        let as_somebody = as_user(SOMEBODY);
        for at in 0..cases() / 3 {
            let words = line(&mut bench.random);
            let words: Vec<_> = words.iter().map(String::as_str).collect();
            let source = if at % 5 == 0 { "kernel" } else { "proc" };
            bench.compare_with(&words, |command| {
                command.env("NETSTAT_BPF_SOURCE", source);
            });
            bench.compare_through(&as_somebody, &words);
        }
    });
}

/// A process of a user with a listener, which no other user may look into.
struct Holder(Child);

impl Holder {
    fn of(bench: &Bench, id: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let port = listener.local_addr().expect("an address").port();
        // SAFETY: no pointers.
        let done = unsafe { libc::fcntl(listener.as_raw_fd(), libc::F_SETFD, 0) };
        assert_eq!(done, 0, "let the listener be inherited");
        let child = Command::new("sleep")
            .arg("1000")
            .uid(id)
            .gid(id)
            .spawn()
            .expect("run sleep");
        drop(listener);
        let holder = Self(child);
        let owner = format!("{}/sleep", holder.0.id());
        let mut shown = String::new();
        let seen = wait::try_until(|| {
            shown = bench.real(&["-ltnp"]);
            let mut rows = shown.lines();
            let row = rows.find(|row| row.contains(&format!("127.0.0.1:{port} ")));
            row.is_some_and(|row| row.contains(&owner)).then_some(())
        });
        assert!(seen.is_some(), "{owner} has port {port}: {shown}");
        holder
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Both fail only for a process that is gone, which is what is wanted.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Scenario 38: users as a user namespace sees them, without ids of its own and as its root.
#[test]
fn users_inside_a_user_namespace() {
    Bench::run(|bench| {
        ip("link set lo up");
        bench.let_all_run_ours();
        bench.cover_file(
            "/etc/passwd",
            "root:x:0:0::/:/bin/sh\nalonglonglonglogin:x:4242:4242::/:/bin/sh\n\
             the-user-of-no-namespace:x:65534:65534::/:/bin/sh\n",
        );
        let owned = [0, 4242, 77, 4_294_967_294_u32].map(|uid| {
            let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
            // SAFETY: no pointers.
            let done = unsafe { libc::fchown(listener.as_raw_fd(), uid, uid) };
            assert_eq!(done, 0, "chown a socket to {uid}");
            listener
        });
        let real = bench.real(&["-lte", "--numeric-hosts"]);
        assert!(real.contains(" alonglonglonglogin "), "{real}");
        for line in LINES {
            for script in [
                "exec unshare -U bash -c 'exec -a netstat \"$0\" \"$@\"' \"$0\" \"$@\"",
                "exec unshare -Ur bash -c 'exec -a netstat \"$0\" \"$@\"' \"$0\" \"$@\"",
            ] {
                bench.compare_through(script, line);
            }
        }
        drop(owned);
    });
}

/// Scenario 47: nothing is denied, and yet nobody is told.
#[test]
fn root_without_the_right_to_look() {
    Bench::run(|bench| {
        ip("link set lo up");
        let _sockets = Sockets::open();
        let _holder = Holder::of(bench, ANYBODY);
        let bare = "exec setpriv --bounding-set=-sys_ptrace bash -c 'exec -a netstat \"$0\" \"$@\"' \"$0\" \"$@\"";
        let weak = bare.replace("-sys_ptrace", "-sys_ptrace,-dac_override,-dac_read_search");
        for line in LINES {
            for source in ["", "proc", "kernel"] {
                let chosen = |script: &str| match source {
                    // That it is not to be had is told.
                    "kernel" => {
                        format!("exec 2>/dev/null; export NETSTAT_BPF_SOURCE=kernel; {script}")
                    }
                    other => format!("export NETSTAT_BPF_SOURCE={other}; {script}"),
                };
                bench.compare_through(&chosen(bare), line);
                bench.compare_through(&chosen(&weak), line);
            }
        }
    });
}

/// Scenario 47: the warnings of `-p` come in each round; a /proc that hides gives none.
#[test]
fn nobody_and_a_proc_that_hides() {
    Bench::run(|bench| {
        ip("link set lo up");
        bench.let_all_run_ours();
        let _sockets = Sockets::open();
        let holder = Holder::of(bench, NOBODY);
        let through_nobody = as_user(NOBODY);
        let as_nobody = |command: &mut Command| {
            command.uid(NOBODY).gid(NOBODY).current_dir("/");
        };
        let compare = |bench: &mut Bench| {
            for line in LINES {
                bench.compare_through(&through_nobody, line);
            }
            bench.compare_rounds_beside(&["-ltnp"], "Active Internet", as_nobody);
        };
        compare(bench);
        drop(holder);
        compare(bench);
        for option in ["hidepid=1", "hidepid=2"] {
            let none = MsFlags::empty();
            mount(Some("proc"), "/proc", Some("proc"), none, Some(option)).expect("mount /proc");
            compare(bench);
        }
    });
}

/// Scenario 42: names come from the arguments, whatever the kernel calls a process or its program.
#[test]
fn a_deleted_program_and_a_changed_name() {
    Bench::run(|bench| {
        ip("link set lo up");
        let directory = tempfile::tempdir().expect("a directory");
        let copy = directory.path().join("a-copy");
        std::fs::copy("/usr/bin/sleep", &copy).expect("copy a program");
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        // SAFETY: no pointers.
        let done = unsafe { libc::fcntl(listener.as_raw_fd(), libc::F_SETFD, 0) };
        assert_eq!(done, 0, "let the listener be inherited");
        let mut first = Command::new(&copy);
        first.arg0("/some where/else").arg("1000");
        let first = Holder(first.spawn().expect("run the copy"));
        std::fs::remove_file(&copy).expect("delete the program");
        drop(listener);
        let other = TcpListener::bind("127.0.0.1:0").expect("bind");
        // SAFETY: no pointers.
        let done = unsafe { libc::fcntl(other.as_raw_fd(), libc::F_SETFD, 0) };
        assert_eq!(done, 0, "let the listener be inherited");
        let mut second = Command::new("bash");
        second.args(["-c", "printf renamed > /proc/$$/comm; kill -STOP $$; :"]);
        let second = Holder(second.spawn().expect("run bash"));
        drop(other);
        let renamed = wait::try_until(|| {
            let name = std::fs::read_to_string(format!("/proc/{}/comm", second.0.id()));
            name.is_ok_and(|name| name.trim_end() == "renamed")
                .then_some(())
        });
        assert!(renamed.is_some(), "bash renames itself");
        let real = bench.real(&["-ltnp"]);
        assert!(real.contains(&format!("{}/else", first.0.id())), "{real}");
        assert!(real.contains(&format!("{}/bash", second.0.id())), "{real}");
        for source in ["proc", "kernel"] {
            bench.compare_with(&["-ltnp"], |command| {
                command.env("NETSTAT_BPF_SOURCE", source);
            });
        }
    });
}

/// Scenario 43: after the process numbers have begun anew, a child is lower than its parent.
#[test]
fn a_child_with_the_lower_number() {
    Bench::run(|bench| {
        ip("link set lo up");
        let listener = TcpListener::bind("127.0.0.1:4300").expect("bind");
        // SAFETY: no pointers.
        let fd = unsafe { libc::fcntl(listener.as_raw_fd(), libc::F_DUPFD, 20) };
        assert!(fd >= 20, "a copy to inherit");
        // SAFETY: the descriptor is new.
        let copy = unsafe { OwnedFd::from_raw_fd(fd) };
        let script = format!(
            "exec unshare -pf --mount-proc bash -c '
                echo 1000 > /proc/sys/kernel/ns_last_pid
                ( while [ -e /proc/1/fd/{fd} ]; do :; done
                  echo 10 > /proc/sys/kernel/ns_last_pid
                  sleep 100 &
                  child=$!
                  until read -rd \"\" name < /proc/$child/cmdline && [ \"$name\" = sleep ]; do :; done
                  (exec -a netstat \"$0\" \"$@\" {fd}>&-)
                  status=$?
                  kill $child
                  exit $status ) &
                exec {fd}>&-
                wait $!' \"$0\" \"$@\"",
        );
        for source in ["proc", "kernel"] {
            let script = format!("export NETSTAT_BPF_SOURCE={source}; {script}");
            let real = bench.compare_through(&script, &["-ltnp"]);
            assert!(real.contains(" 11/sleep "), "{real}");
        }
        drop((listener, copy));
    });
}
