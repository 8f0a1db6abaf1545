//! Sockets of io_uring. A direct descriptor is in no process's table: netstat shows `-`.

use std::fs;

use crate::owners::{check, listen};

/// Without io_uring there is nothing to test, and that must not look like a pass.
#[test]
fn this_kernel_lets_processes_use_io_uring() {
    let disabled = fs::read_to_string("/proc/sys/kernel/io_uring_disabled").unwrap_or_default();
    assert_eq!(disabled.trim(), "0", "kernel.io_uring_disabled");
}

#[test]
fn a_listener_of_io_uring() {
    check(|stage| {
        let (server, client) = (stage.actor(), stage.actor());
        let values = server.tell("uring-listen 127.0.0.1:0");
        let address = values[1].parse().expect("an address");
        client.connect(address);
        server.tell(format_args!("uring-accept {}", values[0]));
        stage.expect(address, Some(server.pid()));
        stage.expect_row("accepted", |row| {
            row.local == values[1] && row.state == "ESTABLISHED" && row.owner == Some(server.pid())
        });
        vec![server, client]
    });
}

#[test]
fn accepted_without_a_descriptor() {
    check(|stage| {
        let (server, client) = (stage.actor(), stage.actor());
        let (listener, address) = listen(&server);
        client.connect(address);
        server.tell(format_args!("uring-accept-direct {listener}"));
        stage.expect_row("of nobody", |row| {
            row.local == address.to_string() && row.state == "ESTABLISHED" && row.owner.is_none()
        });
        vec![server, client]
    });
}

#[test]
fn connected_without_a_descriptor() {
    check(|stage| {
        let (server, client) = (stage.actor(), stage.actor());
        let (listener, address) = listen(&server);
        client.tell(format_args!("uring-connect-direct {address}"));
        server.accept(listener);
        stage.expect_row("of nobody", |row| {
            row.remote == address.to_string() && row.state == "ESTABLISHED" && row.owner.is_none()
        });
        vec![server, client]
    });
}

#[test]
fn a_direct_descriptor_becomes_an_ordinary_one() {
    check(|stage| {
        let (server, client) = (stage.actor(), stage.actor());
        let (listener, address) = listen(&server);
        client.connect(address);
        let slot = server.tell(format_args!("uring-accept-direct {listener}"));
        server.tell(format_args!("uring-install {}", slot[0]));
        server.tell(format_args!("uring-close-direct {}", slot[0]));
        stage.expect_row("accepted", |row| {
            row.local == address.to_string()
                && row.state == "ESTABLISHED"
                && row.owner == Some(server.pid())
        });
        vec![server, client]
    });
}

/// The ring, and what is in it, live on in a child.
#[test]
fn a_ring_whose_process_has_ended() {
    check(|stage| {
        let (server, client) = (stage.actor(), stage.actor());
        let (listener, address) = listen(&server);
        client.connect(address);
        server.tell(format_args!("uring-accept-direct {listener}"));
        let child = server.fork();
        child.close(listener);
        server.exit();
        stage.expect_row("of nobody", |row| {
            row.local == address.to_string() && row.owner.is_none()
        });
        vec![child, client]
    });
}
