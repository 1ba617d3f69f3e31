//! Who may open a connection when many want to.
//!
//! Below the caps everybody. At the cap of one source, its own longest idle connection makes room; at the cap of
//! all, the longest idle connection of the heaviest source does, unless the newcomer's source is as heavy itself.
//! So a flood from one place costs that place, and a client with few connections keeps and gets them.
//!
//! Handshakes cost far more than requests. Of one source only so many are worked on at the same time; its others wait.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;

use super::Limits;
use super::lines::Line;

#[derive(Debug)]
pub(super) struct Admission {
    cap: usize,
    cap_per_source: usize,
    handshakes_per_source: usize,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: usize,
    sources: HashMap<IpAddr, Source>,
}

/// What one source has open.
#[derive(Debug)]
struct Source {
    lines: HashMap<u64, Arc<Line>>,
    handshakes: Arc<Semaphore>,
}

/// The right to one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) line: Arc<Line>,
    /// The handshakes of its source that may be worked on now.
    pub(super) handshakes: Arc<Semaphore>,
    source: IpAddr,
    number: u64,
    admission: Arc<Admission>,
}

impl Admission {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            cap: limits.connections,
            cap_per_source: limits.connections_per_source,
            handshakes_per_source: limits.handshakes_per_source,
            table: Mutex::default(),
        }
    }

    /// A place for a connection from `address`, or none.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let source = source(address);
        let mut table = self.table();
        let own = table.sources.get(&source).map_or(0, |own| own.lines.len());
        if own >= self.cap_per_source {
            table.shed(source)?;
        } else if table.open >= self.cap {
            let (heaviest, weight) = table.heaviest()?;
            if weight <= own + 1 && heaviest != source {
                return None;
            }
            table.shed(heaviest)?;
        }
        let number = table.next;
        table.next += 1;
        table.open += 1;
        let line = Arc::new(Line::new());
        let own = table.sources.entry(source).or_insert_with(|| Source {
            lines: HashMap::new(),
            handshakes: Arc::new(Semaphore::new(self.handshakes_per_source.max(1))),
        });
        own.lines.insert(number, Arc::clone(&line));
        let handshakes = Arc::clone(&own.handshakes);
        Some(Place { line, handshakes, source, number, admission: Arc::clone(self) })
    }

    /// Closes the longest idle connection of the heaviest source, if it has one.
    pub(super) fn shed_one(&self) {
        let mut table = self.table();
        if let Some((heaviest, _)) = table.heaviest() {
            table.shed(heaviest);
        }
    }

    /// Asks every connection to end after its present requests.
    pub(super) fn close_all(&self) {
        for line in self.table().sources.values().flat_map(|source| source.lines.values()) {
            line.ask_to_end();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it is held, and a table that lost a count is still better than no server.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn heaviest(&self) -> Option<(IpAddr, usize)> {
        self.sources.iter().map(|(source, own)| (*source, own.lines.len())).max_by_key(|(_, weight)| *weight)
    }

    /// Ends the longest idle connection of `source`. `None` if all its connections have a request in work.
    fn shed(&mut self, source: IpAddr) -> Option<()> {
        let lines = &self.sources.get(&source)?.lines;
        let (&number, line) =
            lines.iter().filter(|(_, line)| line.is_sheddable()).min_by_key(|(_, line)| line.since())?;
        line.ask_to_end();
        self.remove(source, number);
        Some(())
    }

    fn remove(&mut self, source: IpAddr, number: u64) {
        if let Some(own) = self.sources.get_mut(&source) {
            if own.lines.remove(&number).is_some() {
                self.open -= 1;
            }
            if own.lines.is_empty() {
                self.sources.remove(&source);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.admission.table().remove(self.source, self.number);
    }
}

/// What counts as one source: an IPv4 address, or the /64 network in which an IPv6 host picks addresses at will.
pub(super) fn source(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from(u128::from(v6) & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn admission(connections: usize, connections_per_source: usize) -> Arc<Admission> {
        Arc::new(Admission::new(&Limits { connections, connections_per_source, ..Limits::default() }))
    }

    #[test]
    fn a_flood_from_one_source_makes_room_for_another() {
        let admission = admission(4, 10);
        let flood: Vec<_> = (0..4).filter_map(|_| admission.admit(address(1))).collect();
        assert_eq!(flood.len(), 4);
        assert!(admission.admit(address(2)).is_some());
        assert!(
            flood[1..].iter().any(|place| admission.table().sources[&address(1)].lines.contains_key(&place.number))
        );
        assert_eq!(admission.table().sources[&address(1)].lines.len(), 3);
    }

    #[test]
    fn equal_sources_do_not_push_each_other_out() {
        let admission = admission(2, 10);
        let _first = admission.admit(address(1));
        let _second = admission.admit(address(2));
        assert!(admission.admit(address(3)).is_none());
    }

    #[test]
    fn a_connection_with_a_request_in_work_is_never_shed() {
        let admission = admission(10, 1);
        let place = admission.admit(address(1)).expect("there is room");
        let working = place.line.answering();
        assert!(admission.admit(address(1)).is_none());
        drop(working);
        assert!(admission.admit(address(1)).is_some());
    }

    #[test]
    fn places_are_given_back() {
        let admission = admission(2, 2);
        for _ in 0..10 {
            drop(admission.admit(address(1)));
        }
        assert_eq!(admission.table().open, 0);
        assert!(admission.table().sources.is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_are_one_source() {
        assert_eq!(source("2001:db8::1".parse().unwrap()), source("2001:db8::2:3:4:5".parse().unwrap()));
        assert_ne!(source("2001:db8::1".parse().unwrap()), source("2001:db8:0:1::1".parse().unwrap()));
    }
}
