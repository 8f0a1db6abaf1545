//! Whose a socket is: netstat's rule is the lowest PID whose main thread holds a descriptor of it.

use std::net::SocketAddr;

use netstat_tests::{
    continuous::Continuous,
    netns::{Net, within},
    oracle::{assert_live, assert_same, real},
    procs::{Actor, Fd},
    row::Row,
    states::COLUMNS,
    wait,
};

/// Runs one script under a `-c` that is older than its sockets; it returns the processes that are to
/// live on, and everything must agree, now and in a `-c` that comes after.
pub(crate) fn check(script: impl FnOnce(&Stage<'_>) -> Vec<Actor> + Send) {
    within(|net| {
        let early = Continuous::start(net, &["-anpt"]);
        let stage = Stage { net };
        let actors = script(&stage);
        let late = Continuous::start(net, &["-anpt"]);
        for args in [["-anpt"].as_slice(), &["-tnpeo", "-a"]] {
            assert_same(net, args);
        }
        assert_live(net, &mut [early, late]);
        drop(actors);
    });
}

/// Where a script plays.
pub(crate) struct Stage<'a> {
    pub(crate) net: &'a Net,
}

impl Stage<'_> {
    pub(crate) fn actor(&self) -> Actor {
        self.net.actor()
    }

    /// What netstat itself says of a socket, by its local address: the script did what it meant.
    #[track_caller]
    pub(crate) fn expect(&self, local: SocketAddr, owner: Option<u32>) {
        let local = local.to_string();
        self.expect_row(&format!("{local} owned by {owner:?}"), |row| {
            row.local == local && row.owner == owner
        });
    }

    /// netstat itself has a row like this.
    #[track_caller]
    pub(crate) fn expect_row(&self, what: &str, wanted: impl Fn(&Row) -> bool) {
        let mut seen = Vec::new();
        let found = wait::try_until(|| {
            seen = Row::parse_all(&real(self.net, &COLUMNS).stdout);
            seen.iter().any(&wanted).then_some(())
        });
        assert!(found.is_some(), "no row {what}: {seen:#?}");
    }
}

/// A listener on loopback in an actor.
pub(crate) fn listen(actor: &Actor) -> (Fd, SocketAddr) {
    actor.listen("127.0.0.1:0")
}

/// A connected socket at either end: listener's owner, caller, and their descriptors.
pub(crate) fn connection(server: &Actor, client: &Actor) -> (Fd, Fd, SocketAddr) {
    let (listener, address) = listen(server);
    let (called, local) = client.connect(address);
    (server.accept(listener), called, local)
}

#[test]
fn accepted_and_connected() {
    check(|stage| {
        let (server, client) = (stage.actor(), stage.actor());
        let (_, _, local) = connection(&server, &client);
        stage.expect(local, Some(client.pid()));
        vec![server, client]
    });
}

#[test]
fn inherited_while_the_parent_lives() {
    check(|stage| {
        let parent = stage.actor();
        let (_, local) = listen(&parent);
        let child = parent.fork();
        stage.expect(local, Some(parent.pid().min(child.pid())));
        vec![parent, child]
    });
}

#[test]
fn inherited_when_the_parent_dies_first() {
    check(|stage| {
        let parent = stage.actor();
        let (_, local) = listen(&parent);
        let child = parent.fork();
        parent.exit();
        stage.expect(local, Some(child.pid()));
        vec![child]
    });
}

#[test]
fn inherited_when_the_child_dies_first() {
    check(|stage| {
        let parent = stage.actor();
        let (_, local) = listen(&parent);
        parent.fork().exit();
        stage.expect(local, Some(parent.pid()));
        vec![parent]
    });
}

#[test]
fn inherited_and_closed_by_the_parent() {
    check(|stage| {
        let parent = stage.actor();
        let (fd, local) = listen(&parent);
        let child = parent.fork();
        parent.close(fd);
        stage.expect(local, Some(child.pid()));
        vec![parent, child]
    });
}

#[test]
fn inherited_by_a_grandchild_alone() {
    check(|stage| {
        let parent = stage.actor();
        let (_, local) = listen(&parent);
        let child = parent.fork();
        let grandchild = child.fork();
        parent.exit();
        child.exit();
        stage.expect(local, Some(grandchild.pid()));
        vec![grandchild]
    });
}

#[test]
fn an_inherited_listener_accepts_in_the_child() {
    check(|stage| {
        let (parent, client) = (stage.actor(), stage.actor());
        let (listener, address) = listen(&parent);
        let child = parent.fork();
        parent.close(listener);
        let (_, local) = client.connect(address);
        child.accept(listener);
        stage.expect(local, Some(client.pid()));
        stage.expect(address, Some(child.pid()));
        vec![parent, child, client]
    });
}

#[test]
fn kept_over_exec() {
    check(|stage| {
        let actor = stage.actor();
        let (fd, local) = listen(&actor);
        actor.close_on_exec(fd, false);
        actor.exec("renamed");
        stage.expect(local, Some(actor.pid()));
        vec![actor]
    });
}

#[test]
fn closed_by_exec() {
    check(|stage| {
        let (server, client) = (stage.actor(), stage.actor());
        let (accepted, _, local) = connection(&server, &client);
        server.close_on_exec(accepted, true);
        server.exec("renamed");
        stage.expect(local, Some(client.pid()));
        vec![server, client]
    });
}

#[test]
fn closed_by_exec_in_one_of_two() {
    check(|stage| {
        let parent = stage.actor();
        let (_, local) = listen(&parent);
        let child = parent.fork();
        parent.exec("renamed");
        stage.expect(local, Some(child.pid()));
        vec![parent, child]
    });
}

/// Two processes joined by a unix socket; the second was forked before the first had anything else.
pub(crate) fn joined(stage: &Stage<'_>) -> (Actor, Fd, Actor, Fd) {
    let sender = stage.actor();
    let (one, other) = sender.pair();
    let receiver = sender.fork();
    (sender, one, receiver, other)
}

#[test]
fn passed_and_kept() {
    check(|stage| {
        let (sender, one, receiver, other) = joined(stage);
        let (fd, local) = listen(&sender);
        sender.pass(one, fd);
        receiver.receive(other);
        stage.expect(local, Some(sender.pid().min(receiver.pid())));
        vec![sender, receiver]
    });
}

#[test]
fn passed_and_closed_by_the_sender() {
    check(|stage| {
        let (sender, one, receiver, other) = joined(stage);
        let (fd, local) = listen(&sender);
        sender.pass(one, fd);
        sender.close(fd);
        receiver.receive(other);
        stage.expect(local, Some(receiver.pid()));
        vec![sender, receiver]
    });
}

#[test]
fn in_flight_is_nobodys() {
    check(|stage| {
        let (sender, one, receiver, _) = joined(stage);
        let (fd, local) = listen(&sender);
        sender.pass(one, fd);
        sender.close(fd);
        stage.expect(local, None);
        vec![sender, receiver]
    });
}

#[test]
fn a_connection_is_passed_and_closed_by_the_sender() {
    check(|stage| {
        let (sender, one, receiver, other) = joined(stage);
        let client = stage.actor();
        let (listener, address) = listen(&sender);
        let (_, _) = client.connect(address);
        let accepted = sender.accept(listener);
        sender.pass(one, accepted);
        receiver.receive(other);
        sender.exit();
        vec![receiver, client]
    });
}

#[test]
fn two_listeners_on_one_port() {
    check(|stage| {
        let (one, other) = (stage.actor(), stage.actor());
        let (_, address) = one.listen_shared("127.0.0.1:0");
        other.listen_shared(address);
        stage.expect(address, Some(one.pid()));
        stage.expect(address, Some(other.pid()));
        vec![one, other]
    });
}

#[test]
fn a_duplicate_outlives_the_first_descriptor() {
    check(|stage| {
        let actor = stage.actor();
        let (fd, local) = listen(&actor);
        actor.dup(fd);
        actor.close(fd);
        stage.expect(local, Some(actor.pid()));
        vec![actor]
    });
}

#[test]
fn a_users_own() {
    check(|stage| {
        let actor = stage.actor();
        actor.tell("setuid 12345");
        let (_, local) = listen(&actor);
        stage.expect(local, Some(actor.pid()));
        vec![actor]
    });
}

#[test]
fn a_thread_with_its_own_table_is_nobody() {
    check(|stage| {
        let actor = stage.actor();
        let (fd, local) = listen(&actor);
        actor.tell(format_args!("thread {fd}"));
        stage.expect(local, None);
        vec![actor]
    });
}

#[test]
fn a_process_whose_leader_has_ended_is_nobody() {
    check(|stage| {
        let actor = stage.actor();
        let (_, local) = listen(&actor);
        actor.tell("leave-leader");
        stage.expect(local, None);
        vec![actor]
    });
}

#[test]
fn orphans_have_no_owner() {
    check(|stage| {
        let (server, client) = (stage.actor(), stage.actor());
        let (accepted, called, local) = connection(&server, &client);
        client.close(called);
        stage.expect(local, None);
        server.close(accepted);
        vec![server, client]
    });
}

#[test]
fn a_socket_of_a_dead_process_is_gone_or_an_orphan() {
    check(|stage| {
        let (server, client) = (stage.actor(), stage.actor());
        let (_, _, local) = connection(&server, &client);
        client.exit();
        stage.expect(local, None);
        vec![server]
    });
}
