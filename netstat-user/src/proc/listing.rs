//! The kernel's own list of TCP sockets, of the network namespace that the thread is in.

use std::{
    fs::File,
    io::{self, ErrorKind},
    net::IpAddr,
};

use crate::{
    conn::{
        compare::{Listing, Place, What},
        types::Endpoint,
    },
    source::{InetTable, Line},
    view::row::InetRow,
};

use super::{for_each_line, sockets};

/// Adds every row of /proc/net/tcp and tcp6; `netns` is the inode number of the namespace.
///
/// # Errors
/// A file cannot be opened, or has a line that is no row. Without IPv6 there is no tcp6.
pub fn tcp_listing(netns: u32, listing: &mut Listing) -> io::Result<()> {
    for (table, name) in [(InetTable::Tcp, "tcp"), (InetTable::Tcp6, "tcp6")] {
        let file = match File::open(format!("/proc/thread-self/net/{name}")) {
            Err(error) if error.kind() == ErrorKind::NotFound && table == InetTable::Tcp6 => {
                continue;
            }
            file => file?,
        };
        let mut bogus = 0;
        for_each_line(file, |number, text| {
            if number == 0 {
                return;
            }
            match sockets::line(table, text) {
                Line::Row(row) => {
                    let (place, what) = place(netns, table == InetTable::Tcp6, &row);
                    listing.add(place, what);
                }
                Line::Bogus => bogus += 1,
            }
        });
        if bogus > 0 {
            let text = format!("{bogus} lines of /proc/net/{name} are no rows");
            return Err(io::Error::new(ErrorKind::InvalidData, text));
        }
    }
    Ok(())
}

fn place(netns: u32, v6: bool, row: &InetRow) -> (Place, What) {
    let end = |ip: IpAddr, port: i32| Endpoint {
        addr: match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        },
        port: u16::try_from(port).unwrap_or(0),
    };
    let place = Place::new(
        netns,
        v6,
        end(row.local, row.local_port),
        end(row.remote, row.remote_port),
    );
    let what = What {
        state: u8::try_from(row.state).unwrap_or(0),
        inode: row.inode,
    };
    (place, what)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn our_own_listener_is_in_the_list() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
        let address = listener.local_addr().expect("own address");
        let mut listing = Listing::default();
        tcp_listing(7, &mut listing).expect("the list");
        let local = Endpoint {
            addr: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1],
            port: address.port(),
        };
        let place = Place::new(7, false, local, Endpoint::NONE);
        let here = listing.at(&place);
        assert_eq!(here.len(), 1);
        assert_eq!(here[0].state, 10);
    }
}
