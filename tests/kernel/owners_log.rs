//! Owners in the log, and how they are known, where a socket changes hands without an event.

use std::net::SocketAddr;

use netstat_tests::{
    log::{Event, Log},
    netns::within,
    wait,
};
use serde_json::Value;

use crate::owners::listen;

/// The first change that is `wanted`.
#[track_caller]
fn first(log: &mut Log, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
    let found = wait::try_until(|| log.so_far(&wanted).first().cloned());
    found.unwrap_or_else(|| panic!("the log does not tell {what}"))
}

/// The connection's own end at the called side comes to CLOSE_WAIT.
fn closing(local: SocketAddr) -> impl Fn(&Event) -> bool {
    move |event| event.remote == local && event.new == "CLOSE_WAIT"
}

#[track_caller]
fn assert_owner(event: &Event, pid: u32, provenance: &str) {
    let owner = Some((pid, provenance.to_owned()));
    assert_eq!(event.owner, owner, "{}", event.line);
}

fn program(event: &Event) -> String {
    let line: Value = serde_json::from_str(&event.line).expect("JSON");
    let program = line["owner"]["program"].as_str();
    program.expect("a program").to_owned()
}

#[test]
fn a_connection_that_was_taken_by_pidfd_getfd() {
    within(|net| {
        let mut log = Log::start(net);
        let (server, taker, client) = (net.actor(), net.actor(), net.actor());
        let (listener, address) = listen(&server);
        let (called, local) = client.connect(address);
        let accepted = server.accept(listener);
        taker.take_from(&server, accepted);
        server.close(accepted);
        wait::until_owners_are_looked_for();
        client.shut_down(called);
        let event = first(&mut log, "CLOSE_WAIT", closing(local));
        assert_owner(&event, taker.pid(), "resolved");
    });
}

#[test]
fn a_connection_that_io_uring_accepted() {
    within(|net| {
        let mut log = Log::start(net);
        let (parent, client) = (net.actor(), net.actor());
        let (listener, address) = listen(&parent);
        let child = parent.fork();
        let (called, local) = client.connect(address);
        child.tell(format_args!("uring-accept {listener}"));
        wait::until_owners_are_looked_for();
        client.shut_down(called);
        let event = first(&mut log, "CLOSE_WAIT", closing(local));
        assert_owner(&event, child.pid(), "resolved");
    });
}

/// No descriptor: all that is known is whose listener it came from, and the log says that.
#[test]
fn a_connection_without_a_descriptor_is_its_listeners() {
    within(|net| {
        let mut log = Log::start(net);
        let (server, client) = (net.actor(), net.actor());
        let (listener, address) = listen(&server);
        let (called, local) = client.connect(address);
        server.tell(format_args!("uring-accept-direct {listener}"));
        client.shut_down(called);
        let event = first(&mut log, "CLOSE_WAIT", closing(local));
        assert_owner(&event, server.pid(), "listener");
    });
}

/// The parent has closed the listener that its child accepts from: what is half open is the child's.
#[test]
fn a_listener_that_its_parent_has_closed() {
    within(|net| {
        let mut log = Log::start(net);
        let (parent, client) = (net.actor_named("parent"), net.actor_named("client"));
        let (listener, address) = listen(&parent);
        let child = parent.fork();
        parent.close(listener);
        // The first line about a connection is told before anybody could accept it.
        let (_, local) = client.connect(address);
        let event = first(&mut log, "the child socket", |event| {
            event.remote == local && event.new == "ESTABLISHED"
        });
        assert_owner(&event, child.pid(), "listener");
        child.accept(listener);
    });
}

/// What a process has left behind is not the next one's that gets its id.
#[test]
fn a_process_id_that_is_used_again() {
    within(|net| {
        let init = net.actor().init();
        let inside = net.among_pids_of(&init);
        let mut log = Log::start(&inside);
        let server = net.actor();
        let (listener, address) = listen(&server);
        init.tell("next-pid 500");
        let owner = init.fork();
        let id = owner.own_pid();
        owner.exec("the-first");
        let (_, local) = owner.connect(address);
        let accepted = server.accept(listener);
        let of_the_first =
            |new: &'static str| move |event: &Event| event.local == local && event.new == new;
        let event = first(&mut log, "ESTABLISHED", of_the_first("ESTABLISHED"));
        assert_owner(&event, id, "seen");
        assert_eq!(program(&event), "the-first");
        owner.exit();
        first(&mut log, "FIN_WAIT2", of_the_first("FIN_WAIT2"));

        init.tell(format_args!("next-pid {id}"));
        let stranger = init.fork();
        assert_eq!(stranger.own_pid(), id, "the id is used again");
        stranger.exec("the-second");
        let (_, other) = stranger.connect(address);
        server.accept(listener);
        let of_the_second = move |event: &Event| event.local == other && event.new == "ESTABLISHED";
        let event = first(&mut log, "ESTABLISHED", of_the_second);
        assert_owner(&event, id, "seen");
        assert_eq!(program(&event), "the-second");

        server.close(accepted);
        let event = first(&mut log, "TIME_WAIT", of_the_first("TIME_WAIT"));
        assert_owner(&event, id, "seen");
        assert_eq!(program(&event), "the-first");
        drop(stranger);
        drop(init);
    });
}

/// In a PID namespace the log says the ids of there, and nothing of processes outside.
#[test]
fn ids_of_a_pid_namespace() {
    within(|net| {
        let init = net.actor().init();
        let inside = net.among_pids_of(&init);
        let mut log = Log::start(&inside);
        init.tell("next-pid 700");
        let server = init.fork();
        server.exec("insider");
        let outsider = net.actor();
        let (listener, address) = listen(&server);
        let (_, local) = outsider.connect(address);
        let accepted = server.accept(listener);
        server.shut_down(accepted);
        let event = first(&mut log, "the listener", move |event| {
            event.local == address && event.new == "LISTEN"
        });
        assert_owner(&event, server.own_pid(), "seen");
        let event = first(&mut log, "FIN_WAIT1", move |event| {
            event.remote == local && event.new == "FIN_WAIT1"
        });
        assert_eq!(
            event.owner.as_ref().map(|owner| owner.0),
            Some(server.own_pid())
        );
        assert_eq!(program(&event), "insider");
        let event = first(&mut log, "SYN_SENT", move |event| {
            event.remote == address && event.new == "SYN_SENT"
        });
        assert_eq!(event.owner, None, "{}", event.line);
        drop(server);
        drop(init);
    });
}

/// A program that changes its command line is told by the new one, if not at once.
#[test]
fn a_title_that_changes() {
    within(|net| {
        let mut log = Log::start(net);
        let actor = net.actor_named("a-title-with-room-in-it");
        let listens_as = |log: &mut Log, title: &str| {
            let (fd, address) = listen(&actor);
            let at = move |event: &Event| event.local == address && event.new == "LISTEN";
            let event = first(log, "LISTEN", at);
            actor.close(fd);
            program(&event) == title
        };
        assert!(listens_as(&mut log, "a-title-with-room-in-it"));
        actor.tell("title changed");
        wait::until("the new title", || {
            listens_as(&mut log, "changed").then_some(())
        });
    });
}
