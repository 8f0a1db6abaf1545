//! The rarer ways in which the random life's sockets change hands: taken by pidfd_getfd, through
//! tables that processes share, by io_uring, by threads and their ends, across PID namespaces.

use std::rc::Rc;

use crate::workload::{Dice, MOST_LISTENERS, MOST_STREAMS, Member, World};

/// A PID namespace of the random life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tribe {
    /// Which one.
    pub(crate) id: u32,
    /// Whether the member is the process without which all others end.
    pub(crate) init: bool,
}

impl Tribe {
    /// That of a child.
    pub(crate) fn heir(self) -> Self {
        Self {
            init: false,
            ..self
        }
    }
}

/// Numbers far out, so that tables are large, but below the usual hard limit of 20,000.
const FAR: usize = 9_000;

impl World {
    /// One random step of this kind.
    pub(crate) fn change_hands(&mut self, who: usize, dice: &mut Dice) {
        match dice.below(100) {
            0..22 => self.take_from(who, dice),
            22..30 => self.close_some(who, dice),
            30..36 => self.share(who),
            36..42 => self.dup_far(who, dice),
            42..46 => self.uring_listen(who),
            46..62 => self.uring_accept(who, dice),
            62..72 => self.uring_connect(who, dice),
            72..80 => self.uring_slot(who, dice),
            80..83 => drop(self.try_one(who, "uring-end")),
            83..86 => self.thread(who, dice),
            86..87 => self.leave_leader(who),
            87..95 => self.rename(who, dice),
            _ => self.found(who),
        }
    }

    fn keep(&mut self, who: usize, command: &str) {
        if self.held(who).streams.len() >= MOST_STREAMS {
            return;
        }
        if let Some(fd) = self.try_open(who, command) {
            self.held(who).streams.insert(fd);
        }
    }

    fn take_from(&mut self, who: usize, dice: &mut Dice) {
        let whom = dice.below(self.members.len());
        let (taker, owner) = (&self.members[who], &self.members[whom]);
        // Ids of another PID namespace may mean anybody.
        let pid = match (taker.tribe, owner.tribe) {
            (None, _) => owner.actor.pid(),
            (Some(own), Some(other)) if own.id == other.id => owner.actor.own_pid(),
            _ => return,
        };
        let listens = dice.below(4) == 0;
        let held = self.held(whom);
        let fd = dice.pick_of(if listens {
            &held.listeners
        } else {
            &held.streams
        });
        drop(held);
        let Some(fd) = fd else { return };
        let command = format!("take-from {pid} {fd}");
        if !listens {
            return self.keep(who, &command);
        }
        if self.held(who).listeners.len() >= MOST_LISTENERS {
            return;
        }
        if let Some(taken) = self.try_open(who, &command) {
            self.held(who).listeners.insert(taken);
        }
    }

    /// Some descriptors that stand together; half of the time in a table of its own.
    fn close_some(&mut self, who: usize, dice: &mut Dice) {
        let Some(first) = dice.pick_of(&self.held(who).streams) else {
            return;
        };
        let most = 1 + dice.below(4);
        let alone = dice.below(2) == 0;
        if alone {
            self.members[who].part();
        }
        let mut held = self.held(who);
        let (mut last, mut next) = (first, first);
        for _ in 0..most {
            if !held.streams.remove(&next) && !held.listeners.remove(&next) {
                break;
            }
            last = next;
            next = last.next();
        }
        drop(held);
        let how = if alone { " alone" } else { "" };
        let actor = &self.members[who].actor;
        actor.tell(format_args!("close-range {first} {last}{how}"));
    }

    fn share(&mut self, who: usize) {
        if self.has_room() {
            let parent = &self.members[who];
            let child = Member {
                actor: parent.actor.share(),
                held: Rc::clone(&parent.held),
                tribe: parent.tribe.map(Tribe::heir),
            };
            self.members.push(child);
        }
    }

    fn dup_far(&mut self, who: usize, dice: &mut Dice) {
        let fd = dice.pick_of(&self.held(who).streams);
        if let Some(fd) = fd {
            let number = FAR + dice.below(FAR);
            self.keep(who, &format!("dup-at {fd} {number}"));
        }
    }

    fn uring_listen(&mut self, who: usize) {
        if self.held(who).listeners.len() >= MOST_LISTENERS {
            return;
        }
        if let Some(values) = self.try_one(who, "uring-listen 127.0.0.1:0") {
            let fd = values[0].parse().expect("a descriptor");
            self.addresses.push(values[1].parse().expect("an address"));
            self.held(who).listeners.insert(fd);
        }
    }

    fn uring_accept(&mut self, who: usize, dice: &mut Dice) {
        let Some(listener) = dice.pick_of(&self.held(who).listeners) else {
            return;
        };
        if dice.below(2) == 0 {
            self.keep(who, &format!("uring-accept {listener}"));
        } else {
            self.try_one(who, &format!("uring-accept-direct {listener}"));
        }
    }

    fn uring_connect(&mut self, who: usize, dice: &mut Dice) {
        let recent = self.addresses.len().saturating_sub(2 * MOST_LISTENERS);
        if let Some(address) = dice.pick(&self.addresses[recent..]) {
            self.try_one(who, &format!("uring-connect-direct {address}"));
        }
    }

    fn uring_slot(&mut self, who: usize, dice: &mut Dice) {
        let slot = dice.below(8);
        if dice.below(2) == 0 {
            self.keep(who, &format!("uring-install {slot}"));
        } else {
            self.try_one(who, &format!("uring-close-direct {slot}"));
        }
    }

    fn thread(&mut self, who: usize, dice: &mut Dice) {
        let fd = dice.pick_of(&self.held(who).streams);
        if let Some(fd) = fd {
            self.members[who].actor.tell(format_args!("thread {fd}"));
            self.held(who).streams.remove(&fd);
        }
    }

    fn leave_leader(&mut self, who: usize) {
        self.members[who].actor.tell("leave-leader");
    }

    fn rename(&mut self, who: usize, dice: &mut Dice) {
        let titles = ["", "a", "/usr/sbin/nginx", "sshd: x [priv]", "/", "-sh"];
        let title = dice.pick(&titles).expect("there are titles");
        let step = self.steps;
        self.try_one(who, &format!("title {title}{step}"));
    }

    /// A child founds a PID namespace.
    fn found(&mut self, who: usize) {
        if !self.has_room() || self.members[who].tribe.is_some() {
            return;
        }
        self.tribes += 1;
        let parent = &self.members[who];
        let init = Member {
            tribe: Some(Tribe {
                id: self.tribes,
                init: true,
            }),
            ..parent.heir(parent.actor.ancestor())
        };
        self.members.push(init);
    }
}
