//! Clients' addresses → whether one more connection may come from there: one client must not take the seats of all.
//!
//! Processes of this host are not counted: they share one address, and can do worse than hold connections.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use super::access::Peer;

/// Connections by the address that they come from.
#[derive(Clone, Debug)]
pub(super) struct Crowd {
    of_one_max: usize,
    present: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// A connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    ip: Option<IpAddr>,
    present: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Crowd {
    pub(super) fn new(of_one_max: usize) -> Self {
        Self { of_one_max, present: Arc::default() }
    }

    /// A place for one more, if its address has not too many.
    pub(super) fn enter(&self, peer: Peer) -> Option<Place> {
        let present = Arc::clone(&self.present);
        let Peer::Tcp { remote, .. } = peer else { return Some(Place { ip: None, present }) };
        let ip = remote.ip().to_canonical();
        if ip.is_loopback() {
            return Some(Place { ip: None, present });
        }
        let mut all = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = all.entry(ip).or_default();
        if *of_one >= self.of_one_max {
            return None;
        }
        *of_one += 1;
        drop(all);
        Some(Place { ip: Some(ip), present })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(ip) = self.ip else { return };
        let mut all = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_one) = all.get_mut(&ip) {
            *of_one = of_one.saturating_sub(1);
            if *of_one == 0 {
                all.remove(&ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(ip: &str) -> Peer {
        let address = |ip: &str| std::net::SocketAddr::new(ip.parse().unwrap(), 1);
        Peer::Tcp { remote: address(ip), local: address("10.0.0.1") }
    }

    #[test]
    fn one_address_has_so_many_places_and_gets_them_back() {
        let crowd = Crowd::new(2);
        let first = crowd.enter(from("10.0.0.9")).unwrap();
        let _second = crowd.enter(from("::ffff:10.0.0.9")).unwrap();
        assert!(crowd.enter(from("10.0.0.9")).is_none());
        let _other = crowd.enter(from("10.0.0.8")).unwrap();
        drop(first);
        let third = crowd.enter(from("10.0.0.9")).unwrap();
        drop((_second, _other, third));
        assert!(crowd.present.lock().unwrap().is_empty(), "nothing is kept of who has gone");
    }

    #[test]
    fn processes_of_this_host_are_not_counted() {
        let crowd = Crowd::new(0);
        let _places = ["127.0.0.1", "::1", "::ffff:127.0.0.1"].map(|ip| crowd.enter(from(ip)).unwrap());
        let _unix = crowd.enter(Peer::Unix).unwrap();
    }
}
