//! The door: accepts connections, as many as there may be, and gives each a thread.

use std::{
    collections::HashMap,
    io::ErrorKind,
    os::{
        fd::AsFd as _,
        unix::net::{UnixListener, UnixStream},
    },
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    thread,
    time::Duration,
};

use crate::{
    clock,
    proto::reply::{Refusal, Reply},
};

use super::{
    client::{self, Hall},
    io, peer,
    shared::Tally,
};

/// Stack of a client's thread: it keeps nothing large on it.
const STACK: usize = 256 << 10;
/// Rest after a failed accept(2): until a descriptor is free again.
const REST: Duration = Duration::from_millis(50);
/// How long a refusal may take to be taken.
const REFUSAL: Duration = Duration::from_millis(10);

/// How many may be connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// In all.
    pub clients: usize,
    /// Of one user other than root: nobody can keep the others out alone.
    pub per_user: usize,
}

impl Room {
    /// So many in all.
    #[must_use]
    pub fn of(clients: usize) -> Self {
        Self {
            clients,
            per_user: (clients / 4).max(1),
        }
    }
}

/// Who is connected.
#[derive(Default)]
struct Guests {
    by_uid: HashMap<u32, usize>,
}

impl Guests {
    fn admit(&mut self, uid: u32, room: Room) -> bool {
        let all: usize = self.by_uid.values().sum();
        let same = self.by_uid.get(&uid).copied().unwrap_or(0);
        let fits = all < room.clients && (uid == 0 || same < room.per_user);
        if fits {
            self.by_uid.insert(uid, same + 1);
        }
        fits
    }

    fn leave(&mut self, uid: u32) {
        if let Some(same) = self.by_uid.get_mut(&uid) {
            *same -= 1;
            if *same == 0 {
                self.by_uid.remove(&uid);
            }
        }
    }
}

/// A place that is free again when this is dropped.
struct Place {
    guests: Arc<Mutex<Guests>>,
    uid: u32,
    hall: Arc<Hall>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests.leave(self.uid);
        self.hall.tally.connected.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts connections for ever.
pub fn keep(listener: &UnixListener, room: Room, hall: &Arc<Hall>) {
    let guests = Arc::new(Mutex::new(Guests::default()));
    loop {
        match listener.accept() {
            Ok((stream, _)) => admit(stream, room, &guests, hall),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // Descriptors or memory are short, or the client has gone again.
            Err(_) => {
                Tally::count(&hall.tally.accept_errors);
                clock::sleep(REST);
            }
        }
    }
}

fn admit(stream: UnixStream, room: Room, guests: &Arc<Mutex<Guests>>, hall: &Arc<Hall>) {
    Tally::count(&hall.tally.connections);
    let uid = peer::credentials(stream.as_fd()).map_or(u32::MAX, |found| found.uid);
    if stream.set_nonblocking(true).is_err() {
        return;
    }
    let fits = guests
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .admit(uid, room);
    if !fits {
        turn_away(stream, hall);
        return;
    }
    hall.tally.connected.fetch_add(1, Ordering::Relaxed);
    let place = Place {
        guests: Arc::clone(guests),
        uid,
        hall: Arc::clone(hall),
    };
    let started = thread::Builder::new()
        .name("client".to_owned())
        .stack_size(STACK)
        .spawn(move || {
            client::serve(stream, &place.hall);
            drop(place);
        });
    if started.is_err() {
        // The stream went with the closure: the client sees the end and goes on alone.
        Tally::count(&hall.tally.failed);
    }
}

fn turn_away(mut stream: UnixStream, hall: &Hall) {
    Tally::count(&hall.tally.busy);
    let reply = Reply::Refused(Refusal::Busy, b"too many clients");
    let by = clock::now() + REFUSAL;
    // A client that does not take it sees the end instead.
    let _ = io::send(&mut stream, &reply, REFUSAL, by);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_cannot_keep_the_others_out() {
        let room = Room::of(8);
        let mut guests = Guests::default();
        let admitted = (0..8).filter(|_| guests.admit(1000, room)).count();
        assert_eq!(admitted, 2);
        assert!(guests.admit(1001, room));
        assert_eq!((0..8).filter(|_| guests.admit(0, room)).count(), 5);
        assert!(!guests.admit(1002, room));
        guests.leave(1000);
        assert!(guests.admit(1002, room));
    }
}
