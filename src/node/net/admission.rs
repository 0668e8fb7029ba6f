//! How many unauthenticated peers may be connected at a time, and whose handshake goes on.
//!
//! A connection has a place until its peer has proven what it is. When no place is free, another
//! connection gives way to the newest. If it were the newest that is refused, whoever holds all
//! places would keep everybody out. An honest handshake takes milliseconds, so it is hardly ever
//! the one that gives way.
//!
//! What costs CPU is begun so many times a second. Who waits for that has turns by the same rule.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::{cluster::Source, session::Now};

/// The connections whose hello is not completed. Its lock is never held while another is taken.
#[derive(Debug, Default)]
pub(crate) struct Admission(Mutex<Pools>);

/// The right to be connected without having completed hello, until it is dropped or lost.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    ip: IpAddr,
    id: u64,
    /// Whether it is this one's turn. Its sender is gone when the permit is lost.
    turn: watch::Receiver<bool>,
}

impl Admission {
    /// Notes that a member has been met at this address.
    pub(crate) fn know(&self, ip: IpAddr) {
        let ip = ip.to_canonical();
        let mut pools = self.lock();
        pools.met.retain(|met| *met != ip);
        if pools.met.len() >= MAX_MET {
            pools.met.pop_front();
        }
        pools.met.push_back(ip);
        pools.forget_others();
    }

    /// Notes the addresses of a source, instead of those before.
    pub(crate) fn list(&self, source: &Source, ips: impl Iterator<Item = IpAddr>) {
        let ips = ips.map(|ip| ip.to_canonical()).collect();
        let mut pools = self.lock();
        pools.listed.insert(source.clone(), ips);
        pools.forget_others();
    }

    /// Notes that a source is none any more.
    pub(crate) fn unlist(&self, source: &Source) {
        let mut pools = self.lock();
        pools.listed.remove(source);
        pools.forget_others();
    }

    /// Gives turns to those who wait. Call it whenever time has passed.
    pub(crate) fn give_turns(&self, random: impl Fn() -> u64, now: Now) {
        let mut pools = self.lock();
        for pool in pools.all() {
            pool.give_turns(&random, now);
        }
    }

    #[cfg(test)]
    pub(crate) fn knows(&self, ip: IpAddr) -> bool {
        self.lock().knows(ip)
    }

    fn lock(&self) -> MutexGuard<'_, Pools> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Takes a place for a connection from an address. If none is free, another permit is lost.
    pub(crate) fn acquire(admission: &Arc<Admission>, ip: IpAddr, random: u64) -> Self {
        let ip = ip.to_canonical();
        let (id, turn) = admission.lock().take_place(ip, random);
        Self {
            admission: Arc::clone(admission),
            ip,
            id,
            turn,
        }
    }

    /// Waits until this connection has given way to another.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub(crate) async fn lost(&self) {
        // Nothing is waited for but the error that there is no sender.
        let _ = self.turn.clone().wait_for(|_| false).await;
    }

    /// Waits for the turn to do what costs CPU.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future changes nothing.
    pub(crate) async fn turn(&self, random: impl Fn() -> u64, now: Now) {
        self.update(|pool, at| {
            pool.places[at].awaits_turn = true;
            pool.give_turns(&random, now);
        });
        // Whose permit is lost ends anyway.
        let _ = self.turn.clone().wait_for(|is_its_turn| *is_its_turn).await;
    }

    /// Notes that the other end belongs to the cluster. From now on it gives way only to others of
    /// which that is known.
    pub(crate) fn prove(&self, random: u64) {
        self.update(|pool, at| {
            let mut place = pool.places.swap_remove(at);
            place.is_proven = true;
            pool.add(place, random);
        });
    }

    fn update(&self, update: impl FnOnce(&mut Pool, usize)) {
        let mut pools = self.admission.lock();
        for pool in pools.pools_of(self.ip) {
            if let Some(at) = pool.places.iter().position(|place| place.id == self.id) {
                return update(pool, at);
            }
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.update(|pool, at| drop(pool.places.swap_remove(at)));
    }
}

#[derive(Debug, Default)]
struct Pools {
    unknown: Pool,
    /// Of each known address from which somebody has come. Others have no part in these.
    known: BTreeMap<IpAddr, Pool>,
    listed: HashMap<Source, Vec<IpAddr>>,
    /// Where members have been met, the latest last.
    met: VecDeque<IpAddr>,
    next_id: u64,
}

impl Pools {
    fn take_place(&mut self, ip: IpAddr, random: u64) -> (u64, watch::Receiver<bool>) {
        let (sender, turn) = watch::channel(false);
        let id = self.next_id;
        self.next_id += 1;
        let place = Place {
            id,
            ip,
            is_proven: false,
            awaits_turn: false,
            turn: sender,
        };
        let pool = match self.knows(ip) {
            true => self.known.entry(ip).or_insert_with(|| Pool::new(OF_KNOWN)),
            false => &mut self.unknown,
        };
        pool.add(place, random);
        (id, turn)
    }

    fn knows(&self, ip: IpAddr) -> bool {
        self.met.contains(&ip) || self.listed.values().any(|ips| ips.contains(&ip))
    }

    fn forget_others(&mut self) {
        let mut known = std::mem::take(&mut self.known);
        known.retain(|ip, _| self.knows(*ip));
        self.known = known;
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Pool> {
        self.known.values_mut().chain([&mut self.unknown])
    }

    /// Returns where connections from an address may have places: it may have become known since.
    fn pools_of(&mut self, ip: IpAddr) -> impl Iterator<Item = &mut Pool> {
        let known = self.known.get_mut(&ip);
        known.into_iter().chain([&mut self.unknown])
    }
}

/// Places that connections compete for.
#[derive(Debug)]
struct Pool {
    capacity: usize,
    places: Vec<Place>,
    turns: u64,
    /// Until when turns have been added.
    filled_ms: u64,
}

impl Default for Pool {
    fn default() -> Self {
        Self::new(OF_UNKNOWN)
    }
}

impl Pool {
    const fn new(capacity: usize) -> Self {
        Self {
            capacity,
            places: Vec::new(),
            turns: MOST_TURNS,
            filled_ms: 0,
        }
    }

    /// Adds a connection. If that makes one too many, one of those before gives way: of the network,
    /// and there of the address, that has most of them, any.
    fn add(&mut self, place: Place, random: u64) {
        let rivals = |other: &&Place| other.is_proven == place.is_proven;
        if self.places.iter().filter(rivals).count() >= self.capacity {
            let crowded = self.pick(rivals, self.crowds(), random);
            if let Some(at) = crowded {
                self.places.swap_remove(at);
            }
        }
        self.places.push(place);
    }

    /// Gives the turns there are, first to those whose network and address have the fewest places.
    fn give_turns(&mut self, random: &impl Fn() -> u64, now: Now) {
        let more = now.mono_ms.saturating_sub(self.filled_ms) / TURN_MS;
        self.filled_ms += more * TURN_MS;
        self.turns = self.turns.saturating_add(more).min(MOST_TURNS);
        let waits = |place: &&Place| place.awaits_turn;
        while self.turns > 0 && self.places.iter().any(|place| waits(&place)) {
            let crowds = self.crowds();
            let next = self.pick(waits, |place| Reverse(crowds(place)), random());
            let at = next.expect("one waits");
            self.turns -= 1;
            self.places[at].awaits_turn = false;
            self.places[at].turn.send_replace(true);
        }
    }

    /// Picks any of those candidates for which `measure` is greatest.
    fn pick<T: Ord>(
        &self,
        is_candidate: impl Fn(&&Place) -> bool,
        measure: impl Fn(&Place) -> T,
        random: u64,
    ) -> Option<usize> {
        let candidates = self.places.iter().enumerate();
        let candidates = candidates.filter(|(_, place)| is_candidate(place));
        let measured: Vec<_> = candidates.map(|(at, place)| (measure(place), at)).collect();
        let (greatest, _) = measured.iter().max()?;
        let best: Vec<usize> = measured
            .iter()
            .filter(|(measure, _)| measure == greatest)
            .map(|(_, at)| *at)
            .collect();
        let picked = usize::try_from(random % best.len() as u64);
        best.get(picked.expect("less than a length")).copied()
    }

    /// Returns what tells of a place how many there are of its network and of its address.
    fn crowds(&self) -> impl Fn(&Place) -> (usize, usize) + use<> {
        let (mut networks, mut addresses) = (HashMap::new(), HashMap::new());
        for place in &self.places {
            *networks.entry(network(place.ip)).or_default() += 1;
            *addresses.entry(place.ip).or_default() += 1;
        }
        move |place| (networks[&network(place.ip)], addresses[&place.ip])
    }
}

/// One connection. Dropping it tells the holder of the permit.
#[derive(Debug)]
struct Place {
    id: u64,
    ip: IpAddr,
    is_proven: bool,
    awaits_turn: bool,
    turn: watch::Sender<bool>,
}

/// Returns the addresses that one host commonly has for itself: of IPv6 the whole /64.
fn network(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        IpAddr::V4(_) => ip,
    }
}

/// Connections without hello from all addresses that are not known, and from each that is.
const OF_UNKNOWN: usize = 64;
const OF_KNOWN: usize = 16;
/// A handshake takes less than a millisecond of CPU.
const TURN_MS: u64 = 4;
/// Turns that were not used, for many who come at once.
const MOST_TURNS: u64 = 64;
/// Peers that move about leave addresses behind.
const MAX_MET: usize = 256;

#[cfg(test)]
mod tests {
    use std::{cell::Cell, net::Ipv4Addr};

    use futures_util::FutureExt as _;

    use super::*;

    fn ip(last: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 0, last).into()
    }

    fn ipv6(network: u16, host: u16) -> IpAddr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, host).into()
    }

    const fn at(mono_ms: u64) -> Now {
        Now {
            wall_ms: 0,
            mono_ms,
        }
    }

    /// The same numbers each time, which look random.
    fn numbers() -> impl Fn() -> u64 {
        let state = Cell::new(7_u64);
        move || {
            let next = state.get().wrapping_mul(6_364_136_223_846_793_005);
            state.set(next.wrapping_add(1_442_695_040_888_963_407));
            state.get() >> 33
        }
    }

    struct Door {
        admission: Arc<Admission>,
        random: Box<dyn Fn() -> u64>,
    }

    impl Door {
        fn new() -> Self {
            Self {
                admission: Arc::default(),
                random: Box::new(numbers()),
            }
        }

        fn come(&self, ip: IpAddr) -> Permit {
            Permit::acquire(&self.admission, ip, (self.random)())
        }

        fn places(&self) -> usize {
            let mut pools = self.admission.lock();
            pools.all().map(|pool| pool.places.len()).sum()
        }

        /// Returns whether it is its turn.
        fn asks(&self, permit: &Permit, now: Now) -> bool {
            let is_over = permit.turn(&self.random, now).now_or_never().is_some();
            is_over && !is_lost(permit)
        }
    }

    fn is_lost(permit: &Permit) -> bool {
        permit.lost().now_or_never().is_some()
    }

    fn left(permits: &[Permit]) -> usize {
        permits.iter().filter(|permit| !is_lost(permit)).count()
    }

    #[test]
    fn all_addresses_together_are_bounded() {
        let door = Door::new();
        let held: Vec<_> = (0..=u8::MAX).map(|last| door.come(ip(last))).collect();
        assert_eq!((left(&held), door.places()), (OF_UNKNOWN, OF_UNKNOWN));
        assert!(
            !is_lost(held.last().expect("many")),
            "the newest has come in"
        );
        drop(held);
        assert_eq!(door.places(), 0);
    }

    #[test]
    fn one_address_cannot_take_all_permits() {
        let door = Door::new();
        let held: Vec<_> = (0..OF_UNKNOWN).map(|_| door.come(ip(1))).collect();
        let other = door.come(ip(2));
        let more: Vec<_> = (0..1000).map(|_| door.come(ip(1))).collect();
        assert!(!is_lost(&other));
        assert_eq!(left(&held) + left(&more), OF_UNKNOWN - 1);
    }

    #[test]
    fn addresses_of_one_network_share_what_it_has_and_each_has_its_part_of_it() {
        let door = Door::new();
        let other_network = door.come(ipv6(8, 1));
        let other_host = door.come(ipv6(7, 1));
        let busy: Vec<_> = (0..1000).map(|_| door.come(ipv6(7, 2))).collect();
        assert!(!is_lost(&other_network) && !is_lost(&other_host));
        let many: Vec<_> = (3..1000).map(|host| door.come(ipv6(7, host))).collect();
        assert!(!is_lost(&other_network), "however many hosts there are");
        assert!(left(&busy) <= 1, "each has one at last");
        assert!(left(&many) >= OF_UNKNOWN - 3);
        let mapped = door.come("::ffff:10.0.0.1".parse().expect("an address"));
        assert_eq!(mapped.ip, ip(1));
    }

    /// How often one who needs a handful of milliseconds gets in while others come at its address.
    #[test]
    fn newest_is_not_refused_but_gives_way_as_any_other() {
        for newcomers in [1, 4, 16] {
            let door = Door::new();
            door.admission.know(ip(1));
            let mut held: Vec<_> = (0..100).map(|_| door.come(ip(1))).collect();
            let mut made = 0;
            for _ in 0..1000 {
                let honest = door.come(ip(1));
                held.extend((0..newcomers).map(|_| door.come(ip(1))));
                made += u32::from(!is_lost(&honest));
            }
            let least = [900, 700, 300][usize::from(newcomers > 1) + usize::from(newcomers > 4)];
            assert!(made > least, "{made} of 1000 while {newcomers} come");
        }
    }

    #[test]
    fn unauthenticated_peers_cannot_keep_known_peers_out() {
        let door = Door::new();
        let peer = Source::Listed("node-b:4100".parse().expect("valid"));
        door.admission.know(ip(1));
        door.admission.list(&peer, [ip(2), ipv6(7, 2)].into_iter());
        for known in [ip(1), ip(2), ipv6(7, 2)] {
            let honest: Vec<_> = (0..OF_KNOWN).map(|_| door.come(known)).collect();
            let hosts = (10..200).map(|last| door.come(ip(last)));
            let strangers: Vec<_> = hosts
                .chain((10..200).map(|n| door.come(ipv6(7, n))))
                .collect();
            assert_eq!((left(&honest), left(&strangers)), (OF_KNOWN, OF_UNKNOWN));
            door.come(known);
            assert_eq!(left(&honest), OF_KNOWN - 1, "no more than its own");
        }
        door.admission.unlist(&peer);
        assert!(!door.admission.knows(ip(2)));
    }

    #[test]
    fn proven_peer_gives_way_to_no_unauthenticated_one() {
        let door = Door::new();
        let proven = door.come(ip(1));
        proven.prove(0);
        let strangers: Vec<_> = (0..1000).map(|_| door.come(ip(1))).collect();
        assert!(!is_lost(&proven));
        assert_eq!(left(&strangers), OF_UNKNOWN);
        for member in &strangers {
            member.prove((door.random)());
        }
        assert_eq!(
            door.places(),
            OF_UNKNOWN,
            "those that prove are bounded, too"
        );
    }

    #[test]
    fn handshakes_in_a_second_are_bounded() {
        let door = Door::new();
        let begun = (0..1000).filter(|ms| {
            let permits: Vec<_> = (0..10).map(|_| door.come(ip(1))).collect();
            let begun = permits
                .iter()
                .filter(|permit| door.asks(permit, at(1000 + ms)));
            begun.count() > 0
        });
        let begun = begun.count() as u64;
        assert!(begun <= MOST_TURNS + 1000 / TURN_MS, "{begun}");
        assert!(begun >= 1000 / TURN_MS, "{begun}");
    }

    #[test]
    fn turns_go_first_to_who_has_the_fewest_connections() {
        let door = Door::new();
        let now = at(1000);
        let strangers: Vec<_> = (0..OF_UNKNOWN).map(|_| door.come(ip(1))).collect();
        assert!(strangers.iter().all(|stranger| door.asks(stranger, now)));
        drop(strangers);
        let strangers: Vec<_> = (1..OF_UNKNOWN).map(|_| door.come(ip(1))).collect();
        assert!(!strangers.iter().any(|stranger| door.asks(stranger, now)));
        let honest = door.come(ip(2));
        assert!(!door.asks(&honest, now), "no turn is left");
        door.admission.give_turns(&door.random, at(1000 + TURN_MS));
        assert!(honest.turn.borrow().to_owned());
        assert!(strangers.iter().all(|stranger| !*stranger.turn.borrow()));
    }
}
