//! How many unauthenticated peers may be connected at a time.

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The connections on which hello is not completed, by address. Its lock is never held while another
/// is taken.
#[derive(Debug, Default)]
pub(crate) struct Admission(Mutex<PermitCounts>);

#[derive(Debug, Default)]
struct PermitCounts {
    by: HashMap<IpAddr, usize>,
    /// Where members have been met, the latest last. Others cannot take the permits of these.
    known: VecDeque<IpAddr>,
}

impl Admission {
    /// Notes that a member has been met at this address.
    pub(crate) fn know(&self, ip: IpAddr) {
        let address_group = address_group(ip);
        let mut taken = self.lock();
        taken.known.retain(|known| *known != address_group);
        if taken.known.len() >= MAX_KNOWN {
            taken.known.pop_front();
        }
        taken.known.push_back(address_group);
    }

    fn lock(&self) -> MutexGuard<'_, PermitCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PermitCounts {
    fn of_unknown(&self) -> usize {
        let unknown = self.by.iter().filter(|(ip, _)| !self.known.contains(ip));
        unknown.map(|(_, permits)| permits).sum()
    }
}

/// The right to be connected without having completed hello, until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    ip: IpAddr,
}

impl Permit {
    /// Takes a permit for a connection from an address, if one is free.
    pub(crate) fn try_acquire(admission: &Arc<Admission>, ip: IpAddr) -> Option<Self> {
        let ip = address_group(ip);
        let mut taken = admission.lock();
        let here = taken.by.get(&ip).copied().unwrap_or(0);
        if here >= PER_ADDRESS {
            return None;
        }
        if !taken.known.contains(&ip) && taken.of_unknown() >= IN_ALL {
            return None;
        }
        taken.by.insert(ip, here + 1);
        Some(Self {
            admission: Arc::clone(admission),
            ip,
        })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.admission.lock();
        if let Some(here) = taken.by.get_mut(&self.ip) {
            *here -= 1;
            if *here == 0 {
                taken.by.remove(&self.ip);
            }
        }
    }
}

/// Returns what counts as one address. Of IPv6 that is the prefix that one host commonly has for
/// itself.
fn address_group(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Connections without hello, from one address, and from all that are not known.
const PER_ADDRESS: usize = 8;
const IN_ALL: usize = 64;
/// Peers that move about leave addresses behind.
const MAX_KNOWN: usize = 256;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    #[test]
    fn one_address_cannot_take_all_permits() {
        let admission = Arc::default();
        let mut held: Vec<_> = (0..PER_ADDRESS)
            .map(|_| Permit::try_acquire(&admission, ip(1)).expect("free"))
            .collect();
        assert!(Permit::try_acquire(&admission, ip(1)).is_none());
        assert!(Permit::try_acquire(&admission, ip(2)).is_some());
        held.pop();
        assert!(Permit::try_acquire(&admission, ip(1)).is_some());
    }

    #[test]
    fn one_ipv6_host_is_one_address_however_many_it_has() {
        let admission = Arc::default();
        let host = |last: u16| Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 0, 0, 0, last).into();
        let held: Vec<_> = (0..100)
            .filter_map(|last| Permit::try_acquire(&admission, host(last)))
            .collect();
        assert_eq!(held.len(), PER_ADDRESS);
        let mapped = "::ffff:10.0.0.1".parse().expect("an address");
        assert!(Permit::try_acquire(&admission, mapped).is_some());
    }

    #[test]
    fn all_addresses_together_are_bounded() {
        let admission = Arc::default();
        let held: Vec<_> = (0..=u8::MAX)
            .filter_map(|last| Permit::try_acquire(&admission, ip(last)))
            .collect();
        assert_eq!(held.len(), IN_ALL);
        drop(held);
        assert!(admission.lock().by.is_empty());
    }

    #[test]
    fn unauthenticated_peers_cannot_keep_known_peers_out() {
        let admission: Arc<Admission> = Arc::default();
        let unknown: Vec<_> = (0..=u8::MAX)
            .filter_map(|last| Permit::try_acquire(&admission, ip(last)))
            .collect();
        let peer = Ipv4Addr::new(10, 1, 0, 1).into();
        assert!(Permit::try_acquire(&admission, peer).is_none());
        admission.know(peer);
        let known: Vec<_> = (0..=PER_ADDRESS)
            .filter_map(|_| Permit::try_acquire(&admission, peer))
            .collect();
        assert_eq!((unknown.len(), known.len()), (IN_ALL, PER_ADDRESS));
        assert!(Permit::try_acquire(&admission, ip(200)).is_none());
    }
}
