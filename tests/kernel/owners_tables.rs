//! Descriptors that get about without fork, exec or a message, and tables that are shared or large.

use netstat_tests::{
    continuous::Continuous,
    netns::within,
    oracle::{assert_live, assert_same},
};

use crate::owners::{Stage, check, connection, joined, listen};

#[test]
fn taken_from_another_process() {
    check(|stage| {
        let (taker, owner) = (stage.actor(), stage.actor());
        let (fd, local) = listen(&owner);
        stage.expect(local, Some(owner.pid()));
        taker.take_from(&owner, fd);
        stage.expect(local, Some(taker.pid().min(owner.pid())));
        vec![taker, owner]
    });
}

#[test]
fn taken_from_another_process_that_ends() {
    check(|stage| {
        let (taker, owner, client) = (stage.actor(), stage.actor(), stage.actor());
        let (accepted, _, local) = connection(&owner, &client);
        let taken = taker.take_from(&owner, accepted);
        owner.exit();
        stage.expect(local, Some(client.pid()));
        stage.expect_row("owned by the taker", |row| row.owner == Some(taker.pid()));
        taker.write(taken, 10);
        vec![taker, client]
    });
}

#[test]
fn an_unaccepted_connection_is_accepted_by_whom_the_listener_was_taken() {
    check(|stage| {
        let (taker, owner, client) = (stage.actor(), stage.actor(), stage.actor());
        let (listener, address) = listen(&owner);
        let (_, _) = client.connect(address);
        stage.expect_row("unaccepted", |row| {
            row.local == address.to_string() && row.state == "ESTABLISHED" && row.owner.is_none()
        });
        let taken = taker.take_from(&owner, listener);
        taker.accept(taken);
        taker.close(taken);
        stage.expect_row("accepted by the taker", |row| {
            row.local == address.to_string()
                && row.state == "ESTABLISHED"
                && row.owner == Some(taker.pid())
        });
        stage.expect(address, Some(owner.pid()));
        vec![taker, owner, client]
    });
}

#[test]
fn an_unaccepted_connection_is_accepted_by_a_child() {
    check(|stage| {
        let (parent, client) = (stage.actor(), stage.actor());
        let (listener, address) = listen(&parent);
        let (_, _) = client.connect(address);
        let child = parent.fork();
        child.accept(listener);
        stage.expect_row("accepted by the child", |row| {
            row.local == address.to_string()
                && row.state == "ESTABLISHED"
                && row.owner == Some(child.pid())
        });
        vec![parent, child, client]
    });
}

#[test]
fn in_flight_and_received_by_a_third_after_the_sender_is_dead() {
    check(|stage| {
        let (sender, one, receiver, other) = joined(stage);
        let third = receiver.fork();
        let (fd, local) = listen(&sender);
        sender.pass(one, fd);
        sender.exit();
        stage.expect(local, None);
        third.receive(other);
        stage.expect(local, Some(third.pid()));
        vec![receiver, third]
    });
}

#[test]
fn a_table_of_two_processes() {
    check(|stage| {
        let parent = stage.actor();
        let child = parent.share();
        // The child has opened it; it is the parent's as well, who never heard of it.
        let (_, local) = listen(&child);
        stage.expect(local, Some(parent.pid().min(child.pid())));
        vec![parent, child]
    });
}

#[test]
fn a_table_of_two_processes_of_which_one_ends() {
    check(|stage| {
        let parent = stage.actor();
        let (_, before) = listen(&parent);
        let child = parent.share();
        let (_, local) = listen(&child);
        parent.exit();
        for address in [before, local] {
            stage.expect(address, Some(child.pid()));
        }
        vec![child]
    });
}

#[test]
fn a_shared_table_is_split_by_exec() {
    check(|stage| {
        let parent = stage.actor();
        let child = parent.share();
        let (kept, kept_at) = listen(&parent);
        let (_, closed_at) = listen(&parent);
        child.close_on_exec(kept, false);
        child.exec("split");
        parent.close(kept);
        stage.expect(kept_at, Some(child.pid()));
        stage.expect(closed_at, Some(parent.pid()));
        vec![parent, child]
    });
}

#[test]
fn a_shared_table_is_split_by_close_range() {
    check(|stage| {
        let parent = stage.actor();
        let child = parent.share();
        let (fd, local) = listen(&parent);
        child.tell(format_args!("close-range {fd} {fd} alone"));
        stage.expect(local, Some(parent.pid()));
        let (_, later) = listen(&child);
        stage.expect(later, Some(child.pid()));
        vec![parent, child]
    });
}

#[test]
fn a_range_is_closed() {
    check(|stage| {
        let actor = stage.actor();
        let child = actor.fork();
        let all = [listen(&actor), listen(&actor), listen(&actor)];
        let [(first, _), (_, _), (last, _)] = all;
        let heir = actor.fork();
        actor.tell(format_args!("close-range {first} {last}"));
        for (_, address) in all {
            stage.expect(address, Some(heir.pid()));
        }
        vec![actor, child, heir]
    });
}

/// The numbers on both sides of the chunks in which the kernel's table is read, and far out.
#[test]
fn high_numbers() {
    check(|stage| {
        let (server, client) = (stage.actor(), stage.actor());
        for number in [63, 64, 127, 128, 1023, 4096, 19_000] {
            let (accepted, called, _) = connection(&server, &client);
            for (actor, fd) in [(&server, accepted), (&client, called)] {
                let values = actor.tell(format_args!("dup-at {fd} {number}"));
                assert!(!values.is_empty(), "a number comes back");
                actor.close(fd);
            }
        }
        vec![server, client]
    });
}

/// Fills a table, with sockets or something else, beyond what the smallest ring has room for, many times over.
fn larger_than_the_ring(sockets: bool) {
    within(|net| {
        let net = &net.with("NETSTAT_BPF_RING_BYTES", "4096");
        let mut live = [Continuous::start(net, &["-anpt"])];
        let actor = net.actor();
        let (fd, first) = listen(&actor);
        let of = if sockets { fd.to_string() } else { "0".into() };
        actor.tell(format_args!("fill 19000 {of}"));
        let (_, last) = listen(&actor);
        let child = actor.fork();
        let stage = Stage { net };
        for address in [first, last] {
            stage.expect(address, Some(actor.pid().min(child.pid())));
        }
        assert_same(net, &["-anpt"]);
        assert_live(net, &mut live);
        actor.exit();
        assert_same(net, &["-anpt"]);
        assert_live(net, &mut live);
    });
}

#[test]
fn a_table_with_more_descriptors_than_the_ring_takes() {
    larger_than_the_ring(false);
}

/// Each part of the table is told, and none may be told for ever.
#[test]
fn a_table_with_more_sockets_than_the_ring_takes() {
    larger_than_the_ring(true);
}
