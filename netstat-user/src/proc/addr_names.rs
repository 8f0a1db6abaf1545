//! Names for the reports that are not sockets. Unlike there, a network is asked for by name only
//! where the route is one.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, Ipv6Addr},
};

use crate::{
    names::{self, SystemNames},
    view::{Names as _, names::Service, route::AddrNames},
};

/// Asks the system's databases; IPv4 answers are kept as long as this lives.
#[derive(Debug, Default)]
pub struct LibcNames {
    hosts: HashMap<Ipv4Addr, Option<Vec<u8>>>,
    networks: HashMap<Ipv4Addr, Option<Vec<u8>>>,
    system: SystemNames,
}

impl AddrNames for LibcNames {
    fn host(&mut self, addr: Ipv4Addr) -> Option<Vec<u8>> {
        let ask = || names::host(addr.into()).map(Vec::from);
        self.hosts.entry(addr).or_insert_with(ask).clone()
    }

    fn network(&mut self, addr: Ipv4Addr) -> Option<Vec<u8>> {
        let ask = || names::network(addr).map(Vec::from);
        self.networks.entry(addr).or_insert_with(ask).clone()
    }

    fn host6(&mut self, addr: Ipv6Addr) -> Option<Vec<u8>> {
        let mut name = Vec::new();
        self.system.host(addr.into(), &mut name).then_some(name)
    }

    fn port(&mut self, proto: &str, port: u16) -> Option<Vec<u8>> {
        let service = match proto {
            "tcp" => Service::Tcp,
            "udp" => Service::Udp,
            _ => return None,
        };
        let mut name = Vec::new();
        self.system
            .service(service, port.into(), &mut name)
            .then_some(name)
    }
}
