//! Processes and sockets that are in different network namespaces, and PID namespaces: seen from
//! outside, from inside, and with process ids that come round again.

use netstat_tests::{
    continuous::Continuous,
    netns::{Net, within},
    oracle::{assert_live, assert_same, ours_path, real},
    procs::Actor,
    row::Row,
    states::COLUMNS,
};

use crate::owners::{Stage, connection, listen};

/// Everything agrees in the namespace as it is seen, now and in what runs since `early`.
fn agree(net: &Net, early: Continuous) {
    let late = Continuous::start(net, &["-anpt"]);
    for args in [["-anpt"].as_slice(), &["-tnpeo", "-a"], &["-anp"]] {
        assert_same(net, args);
    }
    assert_live(net, &mut [early, late]);
}

/// A process takes a socket of this network namespace along into another, and opens one there,
/// which another process takes along to here.
#[test]
fn processes_that_moved_to_another_network_namespace() {
    within(|net| {
        let here = Continuous::start(net, &["-anpt"]);
        let (native, emigrant, returned) = (net.actor(), net.actor(), net.actor());
        let (_, _, local) = connection(&native, &emigrant);
        let (_, address) = listen(&emigrant);
        emigrant.tell("new-net");
        let there = Continuous::start(&net.of(&emigrant), &["-anpt"]);
        let (_, abroad) = listen(&emigrant);
        returned.tell(format_args!("join-net {}", emigrant.pid()));
        let (_, brought) = listen(&returned);
        returned.tell(format_args!("join-net {}", native.pid()));

        let stage = Stage { net };
        stage.expect(local, Some(emigrant.pid()));
        stage.expect(address, Some(emigrant.pid()));
        let foreign = net.of(&emigrant);
        let stage = Stage { net: &foreign };
        stage.expect(abroad, Some(emigrant.pid()));
        stage.expect(brought, Some(returned.pid()));
        agree(net, here);
        agree(&foreign, there);
    });
}

/// A socket of another namespace that was taken by pidfd_getfd, and one that it accepts.
#[test]
fn a_listener_of_another_network_namespace_is_taken() {
    within(|net| {
        let here = Continuous::start(net, &["-anpt"]);
        let (taker, emigrant) = (net.actor(), net.actor());
        emigrant.tell("new-net");
        let there = Continuous::start(&net.of(&emigrant), &["-anpt"]);
        let (listener, address) = listen(&emigrant);
        let taken = taker.take_from(&emigrant, listener);
        emigrant.close(listener);
        emigrant.connect(address);
        taker.accept(taken);
        let foreign = net.of(&emigrant);
        Stage { net: &foreign }.expect(address, Some(taker.pid()));
        agree(net, here);
        agree(&foreign, there);
    });
}

/// A family in a PID namespace: its init, and a child of it; a listener of both, one of each, and
/// one of a process outside.
struct Family {
    outside: Actor,
    init: Actor,
    child: Actor,
}

impl Family {
    fn new(net: &Net) -> Self {
        let outside = net.actor();
        listen(&outside);
        let init = outside.init();
        listen(&init);
        let child = init.fork();
        listen(&child);
        Self {
            outside,
            init,
            child,
        }
    }
}

#[test]
fn a_pid_namespace_seen_from_outside() {
    within(|net| {
        let early = Continuous::start(net, &["-anpt"]);
        let Family {
            outside,
            init,
            child,
        } = Family::new(net);
        let (_, _, local) = connection(&init, &child);
        Stage { net }.expect(local, Some(child.pid()));
        agree(net, early);
        drop(child);
        drop(init);
        drop(outside);
    });
}

/// What only processes outside hold is nobody's, and what they hold too is the insiders'.
#[test]
fn a_pid_namespace_seen_from_inside() {
    within(|net| {
        let family = Family::new(net);
        let inside = net.among_pids_of(&family.init);
        let early = Continuous::start(&inside, &["-anpt"]);
        let stage = Stage { net: &inside };
        let (fd, given_up) = listen(&family.init);
        let (_, at) = listen(&family.child);
        let (_, outer) = listen(&family.outside);
        let taken = family.outside.take_from(&family.init, fd);
        family.init.close(fd);
        stage.expect(at, Some(family.child.own_pid()));
        stage.expect(outer, None);
        stage.expect(given_up, None);
        agree(&inside, early);
        family.outside.close(taken);
        drop(family.child);
        drop(family.init);
    });
}

/// One in the other: a process has three ids, and the innermost sees one.
#[test]
fn pid_namespaces_in_pid_namespaces() {
    within(|net| {
        let outer = net.actor().init();
        let inner = outer.init();
        let (_, low) = listen(&inner);
        let last = inner.fork();
        let (_, high) = listen(&last);
        for (of, seen) in [(&outer, None), (&inner, Some(last.own_pid()))] {
            let view = net.among_pids_of(of);
            let early = Continuous::start(&view, &["-anpt"]);
            if seen.is_some() {
                let stage = Stage { net: &view };
                stage.expect(high, seen);
                stage.expect(low, Some(inner.own_pid()));
            }
            agree(&view, early);
        }
        agree(net, Continuous::start(net, &["-anpt"]));
        drop(last);
        drop(inner);
        drop(outer);
    });
}

/// The /proc of the outer PID namespace, seen by a process of an inner one whose own id is by chance
/// the same number in both: what the kernel calls the processes here is not what /proc calls them.
#[test]
fn a_proc_of_another_pid_namespace() {
    within(|net| {
        let init = net.actor().init();
        let between = init.fork();
        between.tell("new-pids");
        // An init without a /proc of its own: it sees that of the namespace around it.
        let inner = between.fork();
        let (_, at) = listen(&inner);
        let (_, outer) = listen(&init);
        let view = net.among_pids_of(&inner);
        let stage = Stage { net: &view };
        for address in [at, outer] {
            stage.expect_row("owned", |row| {
                row.local == address.to_string() && row.owner.is_some()
            });
        }
        // The next process of either namespace is what nsenter starts.
        inner.tell("next-pid 4000");
        init.tell("next-pid 4000");
        let mut command = view.command(ours_path());
        command.env("NETSTAT_BPF_SOURCE", "kernel");
        let ours = command.args(COLUMNS).output().expect("run netstat-bpf");
        let said = String::from_utf8_lossy(&ours.stderr);
        assert!(said.contains("another PID namespace"), "{said}");
        let mut ours = Row::parse_all(&String::from_utf8_lossy(&ours.stdout));
        let mut theirs = Row::parse_all(&real(&view, &COLUMNS).stdout);
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs);
        drop(inner);
        drop(init);
    });
}

/// After a wrap the child has the lower id, and with it the socket.
#[test]
fn a_child_with_a_lower_id_after_a_wrap() {
    within(|net| {
        let init = net.actor().init();
        init.tell("next-pid 900");
        let parent = init.fork();
        let inside = net.among_pids_of(&init);
        let mut live = [Continuous::start(&inside, &["-anpt"])];
        let stage = Stage { net: &inside };
        init.tell("next-pid 950");
        let client = init.fork();
        let (fd, address) = listen(&parent);
        let (_, local) = client.connect(address);
        stage.expect(address, Some(parent.own_pid()));
        assert_live(&inside, &mut live);
        parent.tell("next-pid 700");
        let child = parent.fork();
        assert!(child.own_pid() < parent.own_pid(), "the id came round");
        child.accept(fd);
        stage.expect(address, Some(child.own_pid()));
        stage.expect(local, Some(client.own_pid()));
        assert_same(&inside, &["-anpt"]);
        assert_live(&inside, &mut live);
        // And one that is as long gone as the ids are used again.
        let id = child.own_pid();
        child.exit();
        stage.expect(address, Some(parent.own_pid()));
        parent.close(fd);
        init.tell(format_args!("next-pid {id}"));
        let stranger = init.fork();
        assert_eq!(stranger.own_pid(), id, "the id is used again");
        let (_, other) = listen(&stranger);
        stage.expect(other, Some(id));
        assert_same(&inside, &["-anpt"]);
        assert_live(&inside, &mut live);
        drop(stranger);
        drop(client);
        drop(parent);
        drop(init);
    });
}
