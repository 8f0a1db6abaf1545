//! A random life: several processes that open, connect, accept, write, read, shut down, close,
//! abort, fork, exec and pass sockets on, over IPv4, IPv6 and IPv4 in IPv6 sockets. The rarer ways
//! in which sockets change hands are in `hands`.

use std::{
    cell::{RefCell, RefMut},
    collections::BTreeSet,
    fmt,
    net::SocketAddr,
    rc::Rc,
};

use crate::{
    hands::Tribe,
    kinds::Kinds,
    netns::Net,
    procs::{Actor, Fd},
};

const MOST_ACTORS: usize = 8;
pub(crate) const MOST_STREAMS: usize = 60;
pub(crate) const MOST_LISTENERS: usize = 6;
const MOST_IN_FLIGHT: usize = 20;
/// More than one segment, less than a send buffer.
const MOST_BYTES: usize = 5000;

/// Numbers that a seed repeats: xorshift64*.
pub struct Dice(u64);

impl Dice {
    /// The numbers of `seed`.
    pub fn new(seed: u64) -> Self {
        // Small seeds differ in few bits; the generator must not start at 0.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        high as usize % limit
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        if from.is_empty() {
            return None;
        }
        Some(from[self.below(from.len())])
    }

    pub(crate) fn pick_of(&mut self, from: &BTreeSet<Fd>) -> Option<Fd> {
        let all: Vec<_> = from.iter().copied().collect();
        self.pick(&all)
    }
}

/// A descriptor table, as far as it is of interest.
#[derive(Clone, Default)]
pub(crate) struct Held {
    pub(crate) listeners: BTreeSet<Fd>,
    /// Connected sockets, and those of other kinds than TCP.
    pub(crate) streams: BTreeSet<Fd>,
}

/// One process, and the table that it may share.
pub(crate) struct Member {
    pub(crate) actor: Actor,
    pub(crate) held: Rc<RefCell<Held>>,
    /// The PID namespace that it is in, if that is not ours.
    pub(crate) tribe: Option<Tribe>,
}

impl Member {
    /// A child that has a copy of the table.
    pub(crate) fn heir(&self, actor: Actor) -> Self {
        Self {
            actor,
            held: Rc::new(RefCell::new(self.held.borrow().clone())),
            tribe: self.tribe.map(Tribe::heir),
        }
    }

    /// Has a copy of the table that it may have shared.
    pub(crate) fn part(&mut self) {
        let held = self.held.borrow().clone();
        self.held = Rc::new(RefCell::new(held));
    }
}

/// The processes, and where they can call.
pub struct World {
    pub(crate) members: Vec<Member>,
    /// Every address that was ever listened on; some refuse calls by now.
    pub(crate) addresses: Vec<SocketAddr>,
    /// A unix socket that every process has: sockets in flight are sent there,
    mail_in: Fd,
    /// and received here.
    mail_out: Fd,
    in_flight: usize,
    pub(crate) steps: usize,
    /// PID namespaces that there have been.
    pub(crate) tribes: u32,
    /// UDP, raw and Unix sockets, if they are wanted.
    kinds: Option<Kinds>,
    /// Steps that came to nothing, as in life: a refused call, a write after a reset.
    vain: usize,
}

impl World {
    /// Two processes without a socket.
    pub fn new(net: &Net) -> Self {
        // Minisockets in FIN_WAIT2 are to expire within a run.
        net.sysctl("ipv4/tcp_fin_timeout", "5");
        let actor = net.actor();
        let (mail_in, mail_out) = actor.pair();
        let first = Member {
            actor,
            held: Rc::default(),
            tribe: None,
        };
        let mut world = Self {
            members: vec![first],
            addresses: Vec::new(),
            mail_in,
            mail_out,
            in_flight: 0,
            steps: 0,
            tribes: 0,
            kinds: None,
            vain: 0,
        };
        world.fork(0);
        world
    }

    /// As [`new`](Self::new), with sockets of all kinds, and processes that move to other network
    /// namespaces.
    pub fn of_all_kinds(net: &Net) -> Self {
        Self {
            kinds: Some(Kinds::new(net)),
            ..Self::new(net)
        }
    }

    /// How many steps were taken.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// One random step.
    pub fn step(&mut self, dice: &mut Dice) {
        self.steps += 1;
        let who = dice.below(self.members.len());
        if let Some(mut kinds) = self.kinds.take() {
            let taken = dice.below(4) == 0;
            if taken {
                kinds.step(self, who, dice);
            }
            self.kinds = Some(kinds);
            if taken {
                return;
            }
        }
        if dice.below(16) == 0 {
            return self.change_hands(who, dice);
        }
        match dice.below(1000) {
            0..40 => self.listen(who, dice),
            40..300 => self.call(who, dice),
            300..550 => self.accept(who, dice),
            550..640 => self.on_stream(who, dice, "write", true),
            640..710 => self.on_stream(who, dice, "read", true),
            710..760 => self.on_stream(who, dice, "shutdown", false),
            760..780 => self.on_stream(who, dice, "keepalive", false),
            780..900 => self.end(who, dice, "close"),
            900..930 => self.end(who, dice, "abort"),
            930..945 => self.close_listener(who, dice),
            945..955 => self.dup(who, dice),
            955..965 => self.fork(who),
            965..973 => self.leave(who),
            973..980 => self.exec(who, dice),
            980..990 => self.send(who, dice),
            _ => self.receive(who),
        }
    }

    /// What a member has open.
    pub(crate) fn held(&self, who: usize) -> RefMut<'_, Held> {
        self.members[who].held.borrow_mut()
    }

    /// Whether there may be one process more.
    pub(crate) fn has_room(&self) -> bool {
        self.members.len() < MOST_ACTORS
    }

    pub(crate) fn try_one(&mut self, who: usize, command: &str) -> Option<Vec<String>> {
        let outcome = self.members[who].actor.try_tell(&command);
        self.vain += usize::from(outcome.is_err());
        outcome.ok()
    }

    /// As [`try_one`](Self::try_one), for a command that answers with a descriptor.
    pub(crate) fn try_open(&mut self, who: usize, command: &str) -> Option<Fd> {
        let values = self.try_one(who, command)?;
        Some(
            values[0]
                .parse()
                .expect("an actor answers with a descriptor"),
        )
    }

    fn listen(&mut self, who: usize, dice: &mut Dice) {
        if self.held(who).listeners.len() >= MOST_LISTENERS {
            return;
        }
        let addresses = ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"];
        let fresh = dice.pick(&addresses).map(str::to_owned);
        let again = dice
            .pick(&self.addresses)
            .map(|address| address.to_string());
        let address = if dice.below(4) == 0 { again } else { fresh };
        let Some(address) = address else { return };
        let Some(values) = self.try_one(who, &format!("listen {address} 16 reuseport")) else {
            return;
        };
        let fd = values[0].parse().expect("a descriptor");
        self.addresses.push(values[1].parse().expect("an address"));
        self.held(who).listeners.insert(fd);
    }

    fn call(&mut self, who: usize, dice: &mut Dice) {
        if self.held(who).streams.len() >= MOST_STREAMS {
            return self.end(who, dice, "close");
        }
        let recent = self.addresses.len().saturating_sub(4 * MOST_LISTENERS);
        let Some(address) = dice.pick(&self.addresses[recent..]) else {
            return;
        };
        let ways: &[&str] = match (address.ip().to_string().as_str(), address.is_ipv4()) {
            (_, true) => &["127.0.0.1", "[::ffff:127.0.0.1]"],
            ("::", false) => &["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]"],
            (_, false) => &["[::1]"],
        };
        let host = dice.pick(ways).expect("there is a way");
        if let Some(fd) = self.try_open(who, &format!("call {host}:{}", address.port())) {
            self.held(who).streams.insert(fd);
        }
    }

    fn accept(&mut self, who: usize, dice: &mut Dice) {
        let Some(listener) = dice.pick_of(&self.held(who).listeners) else {
            return;
        };
        if let Some(fd) = self.try_open(who, &format!("take {listener}")) {
            self.held(who).streams.insert(fd);
        }
    }

    fn on_stream(&mut self, who: usize, dice: &mut Dice, verb: &str, counted: bool) {
        let Some(fd) = dice.pick_of(&self.held(who).streams) else {
            return;
        };
        let count = if counted {
            format!(" {}", 1 + dice.below(MOST_BYTES))
        } else {
            String::new()
        };
        self.try_one(who, &format!("{verb} {fd}{count}"));
    }

    pub(crate) fn end(&mut self, who: usize, dice: &mut Dice, verb: &str) {
        let fd = dice.pick_of(&self.held(who).streams);
        if let Some(fd) = fd {
            self.members[who].actor.tell(format_args!("{verb} {fd}"));
            self.held(who).streams.remove(&fd);
        }
    }

    fn close_listener(&mut self, who: usize, dice: &mut Dice) {
        let fd = dice.pick_of(&self.held(who).listeners);
        if let Some(fd) = fd {
            self.members[who].actor.close(fd);
            self.held(who).listeners.remove(&fd);
        }
    }

    fn dup(&mut self, who: usize, dice: &mut Dice) {
        let fd = dice.pick_of(&self.held(who).streams);
        if let Some(fd) = fd {
            let copy = self.members[who].actor.dup(fd);
            self.held(who).streams.insert(copy);
        }
    }

    fn fork(&mut self, who: usize) {
        if self.has_room() {
            let parent = &self.members[who];
            let child = parent.heir(parent.actor.fork());
            self.members.push(child);
        }
    }

    fn leave(&mut self, who: usize) {
        let tribe = self.members[who].tribe;
        let ends = |member: &Member| match (tribe, member.tribe) {
            // With its init a PID namespace ends.
            (Some(ending), Some(other)) => ending.init && ending.id == other.id,
            _ => false,
        };
        let left = self.members.iter().filter(|member| !ends(member)).count();
        if self.members.len() > 2 && left > 2 {
            self.members.remove(who).actor.exit();
            self.members.retain(|member| !ends(member));
        }
    }

    fn exec(&mut self, who: usize, dice: &mut Dice) {
        let member = &mut self.members[who];
        for fd in [self.mail_in, self.mail_out] {
            member.actor.close_on_exec(fd, false);
        }
        member.part();
        let mut held = member.held.borrow_mut();
        let Held { listeners, streams } = &mut *held;
        for kept in [listeners, streams] {
            kept.retain(|fd| {
                let keep = dice.below(2) == 0;
                member.actor.close_on_exec(*fd, !keep);
                keep
            });
        }
        member.actor.exec(&format!("life-{}", self.steps));
    }

    fn send(&mut self, who: usize, dice: &mut Dice) {
        let Some(fd) = dice.pick_of(&self.held(who).streams) else {
            return;
        };
        if self.in_flight < MOST_IN_FLIGHT {
            self.members[who].actor.pass(self.mail_in, fd);
            self.in_flight += 1;
            if dice.below(2) == 0 {
                self.end(who, dice, "close");
            }
        }
    }

    fn receive(&mut self, who: usize) {
        if self.in_flight > 0 {
            let fd = self.members[who].actor.receive(self.mail_out);
            self.held(who).streams.insert(fd);
            self.in_flight -= 1;
        }
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |held: fn(&Member) -> usize| self.members.iter().map(held).sum::<usize>();
        write!(
            f,
            "{} processes, {} listeners, {} streams, {} in flight, {} of {} steps in vain",
            self.members.len(),
            count(|member| member.held.borrow().listeners.len()),
            count(|member| member.held.borrow().streams.len()),
            self.in_flight,
            self.vain,
            self.steps
        )
    }
}
