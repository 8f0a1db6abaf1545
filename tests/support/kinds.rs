//! The random life's sockets of other kinds than TCP, and its moves between network namespaces.

use std::{net::SocketAddr, path::PathBuf};

use crate::{
    netns::Net,
    procs::{Actor, Fd},
    workload::{Dice, MOST_LISTENERS, MOST_STREAMS, World},
};

const TYPES: [&str; 3] = ["stream", "datagram", "seqpacket"];
const PROTOCOLS: [i32; 4] = [1, 17, 89, 255];

/// What there is to call.
pub(crate) struct Kinds {
    dir: PathBuf,
    udp: Vec<SocketAddr>,
    /// Names, and the types that they are of.
    names: Vec<(String, &'static str)>,
    /// A process in another namespace.
    away: Option<Actor>,
}

impl Kinds {
    pub(crate) fn new(net: &Net) -> Self {
        Self {
            dir: net.dir().to_owned(),
            udp: Vec::new(),
            names: Vec::new(),
            away: None,
        }
    }

    pub(crate) fn step(&mut self, world: &mut World, who: usize, dice: &mut Dice) {
        if world.held(who).streams.len() >= MOST_STREAMS {
            return world.end(who, dice, "close");
        }
        match dice.below(100) {
            0..12 => self.udp(world, who, dice),
            12..25 => self.udp_call(world, who, dice),
            25..45 => self.udp_send(world, who, dice),
            45..48 => self.udp_part(world, who, dice),
            48..60 => self.unix_named(world, who, dice),
            60..75 => self.unix_call(world, who, dice),
            75..82 => {
                let kind = dice.pick(&TYPES).expect("there are types");
                if let Some(ends) = world.try_one(who, &format!("unix-pair {kind}")) {
                    let ends = ends
                        .iter()
                        .map(|fd| fd.parse::<Fd>().expect("a descriptor"));
                    world.held(who).streams.extend(ends);
                }
            }
            82..88 => {
                let family = 4 + 2 * dice.below(2);
                let protocol = dice.pick(&PROTOCOLS).expect("there are protocols");
                Self::keep(world, who, &format!("raw {family} {protocol}"));
            }
            88..99 => world.end(who, dice, "close"),
            _ => self.emigrate(world, who, dice),
        }
    }

    /// A child takes a copy of all descriptors to a namespace of its own and lives there for a while.
    fn emigrate(&mut self, world: &World, who: usize, dice: &mut Dice) {
        // The one before ends here, and its namespace with it.
        self.away = None;
        let child = world.members[who].actor.fork();
        child.tell("new-net");
        child.tell("udp 0.0.0.0:0");
        child.tell("unix-pair stream");
        let (listener, address) = child.listen("127.0.0.1:0");
        let mut accepted = listener;
        for _ in 0..=dice.below(5) {
            child.connect(address);
            accepted = child.accept(listener);
        }
        // Sockets of there come here, with a process that returns or with one that takes them.
        let member = &world.members[who];
        if member.tribe.is_none() && dice.below(2) == 0 {
            let taken = member.actor.take_from(&child, accepted);
            world.held(who).streams.insert(taken);
            let taken = world.members[who].actor.take_from(&child, listener);
            world.held(who).listeners.insert(taken);
        }
        if dice.below(2) == 0 {
            child.tell(format_args!("join-net {}", std::process::id()));
        }
        self.away = Some(child);
    }

    fn keep(world: &mut World, who: usize, command: &str) {
        if let Some(fd) = world.try_open(who, command) {
            world.held(who).streams.insert(fd);
        }
    }

    fn udp(&mut self, world: &mut World, who: usize, dice: &mut Dice) {
        let fresh = ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"];
        let again = dice.pick(&self.udp).filter(|_| dice.below(4) == 0);
        let address = match again {
            Some(address) => address.to_string(),
            None => dice.pick(&fresh).expect("there are addresses").to_owned(),
        };
        if let Some(values) = world.try_one(who, &format!("udp {address} reuseport")) {
            let fd = values[0].parse().expect("a descriptor");
            world.held(who).streams.insert(fd);
            self.udp.push(values[1].parse().expect("an address"));
            if self.udp.len() > MOST_STREAMS {
                self.udp.remove(0);
            }
        }
    }

    fn way(&self, dice: &mut Dice) -> Option<String> {
        let address = dice.pick(&self.udp)?;
        let ways: &[&str] = match (address.ip().to_string().as_str(), address.is_ipv4()) {
            (_, true) => &["127.0.0.1", "[::ffff:127.0.0.1]"],
            ("::", false) => &["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"],
            (_, false) => &["[::1]"],
        };
        let host = dice.pick(ways)?;
        Some(format!("{host}:{}", address.port()))
    }

    fn udp_call(&self, world: &mut World, who: usize, dice: &mut Dice) {
        if let Some(way) = self.way(dice) {
            Self::keep(world, who, &format!("udp-call {way}"));
        }
    }

    fn udp_send(&self, world: &mut World, who: usize, dice: &mut Dice) {
        let fd = dice.pick_of(&world.held(who).streams);
        if let (Some(way), Some(fd)) = (self.way(dice), fd) {
            let count = 1 + dice.below(3000);
            world.try_one(who, &format!("udp-send {fd} {way} {count}"));
        }
    }

    /// Reconnects or disconnects, which moves the socket in the kernel's hash tables.
    fn udp_part(&self, world: &mut World, who: usize, dice: &mut Dice) {
        let Some(way) = self.way(dice) else { return };
        let Some(fd) = world.try_open(who, &format!("udp-call {way}")) else {
            return;
        };
        world.held(who).streams.insert(fd);
        world.try_one(who, &format!("udp-part {fd}"));
    }

    fn unix_named(&mut self, world: &mut World, who: usize, dice: &mut Dice) {
        let kind = dice.pick(&TYPES).expect("there are types");
        let Some(fd) = world.try_open(who, &format!("unix {kind}")) else {
            return;
        };
        let step = world.steps;
        let name = match dice.below(4) {
            0 => String::new(),
            1 => self.dir.join(format!("u{step}")).display().to_string(),
            2 => format!("@life-{step}\\0\\0"),
            _ => format!("@life-{step}"),
        };
        let bound = world
            .try_one(who, &format!("unix-bind {fd} {name}"))
            .is_some();
        let listens = kind != "datagram"
            && world.held(who).listeners.len() < MOST_LISTENERS
            && world.try_one(who, &format!("unix-listen {fd} 8")).is_some();
        let mut held = world.held(who);
        if listens {
            held.listeners.insert(fd);
        } else {
            held.streams.insert(fd);
        }
        drop(held);
        if bound && !name.is_empty() {
            self.names.push((name, kind));
            if self.names.len() > MOST_STREAMS {
                self.names.remove(0);
            }
        }
    }

    fn unix_call(&self, world: &mut World, who: usize, dice: &mut Dice) {
        let at = dice.below(self.names.len().max(1));
        let Some((name, kind)) = self.names.get(at) else {
            return;
        };
        if let Some(fd) = world.try_open(who, &format!("unix {kind}")) {
            world.held(who).streams.insert(fd);
            world.try_one(who, &format!("unix-call {fd} {name}"));
        }
    }
}
