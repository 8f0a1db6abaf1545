//! Taking in what the programs have written into the ring.

use std::io;

use netstat_common::event::{KIND_DESTROY, KIND_FORK, KIND_STATE, SockEvent, TablesRecord};

use crate::{
    clock,
    conn::{
        table::ConnTable,
        trail::Trail,
        types::{Change, Tenure},
    },
};

use super::{
    health::Health,
    object::Purpose,
    record::{Record, decode},
    ring::Ring,
    session::News,
};

/// `TCP_CLOSE`.
const CLOSE: u8 = 7;

/// The ring, and all that what is read of it goes into.
pub(super) struct Intake<'a> {
    pub(super) ring: &'a mut Ring,
    pub(super) table: &'a mut ConnTable,
    pub(super) events: &'a mut u64,
    pub(super) events_of_ours: &'a mut u64,
    pub(super) netns: u32,
    pub(super) pid_of_inode: &'a mut Vec<(u64, u32)>,
    pub(super) health: &'a mut Health,
    pub(super) tables_found: &'a mut Vec<TablesRecord>,
    pub(super) purpose: Purpose,
    pub(super) addresses: &'a mut Vec<u64>,
    pub(super) trail: &'a mut Trail,
    pub(super) deaf: &'a mut Option<io::Error>,
    pub(super) taking_ns: &'a mut u64,
}

impl Intake<'_> {
    pub(super) fn take(&mut self, news: &mut News) {
        let begin = clock::thread_cpu_ns();
        self.take_in(news);
        *self.taking_ns += clock::thread_cpu_ns() - begin;
    }

    fn take_in(&mut self, news: &mut News) {
        let Self {
            ring,
            table,
            events,
            events_of_ours,
            netns,
            pid_of_inode,
            health,
            tables_found,
            purpose,
            addresses,
            trail,
            deaf,
            ..
        } = self;
        let remembers = *purpose == Purpose::Log;
        // Sorted, so that whoever reads them in the order of the table reads memory from front to
        // back; but never beyond an event, which may take one out again.
        let mut seeds: Vec<u64> = Vec::new();
        let note = |seeds: &mut Vec<u64>, table: &mut ConnTable| {
            seeds.sort_unstable();
            seeds.drain(..).for_each(|skaddr| table.seed(skaddr));
        };
        let once = *purpose == Purpose::Snapshot;
        let drained = ring.drain(|bytes| match decode(bytes) {
            Some(Record::Sock(event)) => {
                if !seeds.is_empty() {
                    note(&mut seeds, table);
                }
                **events += 1;
                **events_of_ours += u64::from(event.netns == *netns);
                trail.note(&event, table);
                table.apply(&event, &mut news.changes);
                if !remembers && event.kind == KIND_STATE && event.newstate == CLOSE {
                    // It is in no hash table any more, and if it connects again it is told anew. The
                    // hook that tells of the object's end would cost a quarter more events.
                    let end = SockEvent {
                        kind: KIND_DESTROY,
                        ..event
                    };
                    table.apply(&end, &mut news.changes);
                }
                trail.note(&event, table);
            }
            Some(Record::End(event)) => table.apply_end(&event),
            Some(Record::Proc(event)) => {
                if event.kind == KIND_FORK {
                    id_is_used_again(table, &mut news.changes, event.tgid);
                }
                news.processes.push(event);
            }
            Some(Record::Seed(skaddr)) => seeds.push(skaddr),
            Some(Record::Tables(tables)) => tables_found.push(tables),
            Some(Record::Fds(chunk)) => {
                let held = chunk.inodes.iter().filter(|inode| **inode != 0);
                pid_of_inode.extend(held.map(|inode| (*inode, chunk.pid)));
            }
            None => health.lost.undecoded += 1,
        });
        **deaf = drained.err().or(deaf.take());
        if once {
            addresses.append(&mut seeds);
        } else {
            note(&mut seeds, table);
        }
    }
}

/// A new process has an id that an earlier one had: what has been told by now is about that one.
fn id_is_used_again(table: &mut ConnTable, changes: &mut [Change], pid: u32) {
    table.id_is_used_again(pid);
    let owners = changes
        .iter_mut()
        .filter_map(|change| change.conn.owner.as_mut());
    for owner in owners.filter(|owner| owner.pid == pid && !owner.is_past()) {
        owner.tenure = Tenure::Past;
    }
}
