//! The name beside the process id: the first word of the command line, as it is when it is printed.

use netstat_tests::{
    continuous::Continuous,
    netns::within,
    oracle::{assert_live, assert_same},
};

use crate::owners::{check, connection, listen};

/// A command line that changes between two rounds, as nginx and postgres change theirs.
#[test]
fn a_title_changes_between_rounds() {
    within(|net| {
        let (server, client) = (net.actor_named("first-title-of-all"), net.actor());
        connection(&server, &client);
        let mut live = [Continuous::start(net, &["-anpt"])];
        for title in ["second", "/usr/sbin/third x", "fourth: of 10", "", "/"] {
            server.tell(format_args!("title {title}"));
            assert_same(net, &["-anpt"]);
            assert_live(net, &mut live);
        }
    });
}

#[test]
fn exec_changes_the_name_and_keeps_the_descriptor() {
    within(|net| {
        let actor = net.actor_named("before");
        let (fd, _) = listen(&actor);
        let mut live = [Continuous::start(net, &["-anpt"])];
        for name in ["once", "twice", "./thrice"] {
            actor.close_on_exec(fd, false);
            actor.exec(name);
            assert_same(net, &["-anpt"]);
            assert_live(net, &mut live);
        }
    });
}

/// The thread that calls exec becomes the leader of a process that had none.
#[test]
fn exec_makes_an_owner_of_a_process_without_a_leader() {
    check(|stage| {
        let actor = stage.actor();
        let (fd, local) = listen(&actor);
        actor.tell("leave-leader");
        stage.expect(local, None);
        actor.close_on_exec(fd, false);
        actor.exec("reborn");
        stage.expect(local, Some(actor.pid()));
        vec![actor]
    });
}

/// What only a thread's own table held goes with the thread.
#[test]
fn exec_ends_a_thread_with_its_own_table() {
    check(|stage| {
        let (server, client) = (stage.actor(), stage.actor());
        let (accepted, _, local) = connection(&server, &client);
        server.tell(format_args!("thread {accepted}"));
        stage.expect_row("of nobody", |row| {
            row.remote == local.to_string() && row.owner.is_none()
        });
        server.exec("alone");
        vec![server, client]
    });
}
