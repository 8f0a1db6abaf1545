//! Who asks: netstat shows what the caller may see, with the warnings that go with it.

use netstat_tests::{
    netns::within,
    oracle::{assert_same, assert_same_as_user, real},
    states::{Stack, Way, reach},
};

const NOBODY: u32 = 65534;
const ALL: [&[&str]; 5] = [
    &["-anpt"],
    &["-tnpeo", "-a"],
    &["-ant"],
    &["-lntp"],
    &["-anp"],
];

#[test]
fn a_user_who_owns_nothing() {
    within(|net| {
        let _scenes =
            [Way::Listen, Way::Accepted, Way::TimeWait].map(|way| reach(net, way, Stack::Dual));
        for args in ALL {
            assert_same_as_user(net, NOBODY, args);
        }
    });
}

#[test]
fn a_user_who_owns_one_socket() {
    within(|net| {
        let (own, other) = (net.actor(), net.actor());
        // Giving root up makes a process unreadable to its own user until it executes anew.
        own.tell(format_args!("setgid {NOBODY}"));
        own.tell(format_args!("setuid {NOBODY}"));
        own.exec("nobodys-own");
        let (_, address) = own.listen("127.0.0.1:0");
        other.listen("[::]:0");
        let mut command = net.command("/usr/bin/setpriv");
        let arguments = ["--reuid=65534", "--regid=65534", "--clear-groups"];
        let seen = command
            .args(arguments)
            .args(["/usr/bin/netstat", "-tanp"])
            .output();
        let seen = seen.expect("run setpriv (remedy: apt-get install util-linux)");
        let seen = String::from_utf8_lossy(&seen.stdout).into_owned();
        let mine = format!("{}/nobodys-own", own.pid());
        let row = seen
            .lines()
            .find(|line| line.contains(&address.to_string()));
        assert!(
            row.is_some_and(|row| row.contains(&mine)),
            "netstat should show nobody that {mine} owns {address}:\n{seen}"
        );
        for args in ALL {
            assert_same_as_user(net, NOBODY, args);
        }
    });
}

/// Sockets of every kind that were there before netstat-bpf ever ran in the namespace.
#[test]
fn older_than_the_program() {
    within(|net| {
        let ways = [
            Way::Listen,
            Way::SynSent,
            Way::SynRecv,
            Way::Unaccepted,
            Way::SentData,
            Way::FinWait1Orphan,
            Way::FinWait2Mini,
            Way::TimeWait,
            Way::LastAck,
            Way::Closing,
        ];
        let scenes = [Stack::V4, Stack::V6, Stack::Dual]
            .into_iter()
            .flat_map(|stack| ways.map(|way| reach(net, way, stack)));
        let scenes: Vec<_> = scenes.collect();
        let promised: usize = scenes.iter().map(|scene| scene.rows.len()).sum();
        for args in [["-anpt"].as_slice(), &["-tnpeo", "-a"]] {
            assert_eq!(assert_same(net, args), promised, "{args:?}");
        }
    });
}

#[test]
fn nothing_at_all() {
    within(|net| {
        for args in ALL.into_iter().chain([["-lnt"].as_slice(), &["-nt"]]) {
            assert_same(net, args);
        }
        assert!(
            !real(net, &["-ant"]).stdout.contains("tcp"),
            "the namespace is not empty"
        );
    });
}

/// Names come from the argument memory of the owner at the time of printing.
#[test]
fn names_of_owners() {
    within(|net| {
        let names = [
            "plain",
            "/usr/bin/with-path",
            "./relative/path",
            "-bash",
            "nginx: master process /usr/sbin/nginx",
            "/usr/bin/a-name-much-longer-than-nineteen-bytes",
            "name with (parens) and %s %n",
            "émile",
            "/ends/in/slash/",
            "/",
        ];
        let actors: Vec<_> = names
            .iter()
            .map(|name| {
                let actor = net.actor_named(name);
                actor.listen("127.0.0.1:0");
                actor
            })
            .collect();
        let renamed = net.actor_named("a long enough name to be overwritten");
        renamed.listen("[::1]:0");
        renamed.tell("title /opt/new title: of it");
        assert_eq!(assert_same(net, &["-anpt"]), actors.len() + 1);
        assert!(
            real(net, &["-anpt"]).stdout.contains("/new title"),
            "netstat does not show the new title"
        );
    });
}
