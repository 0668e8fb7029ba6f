//! Peer exchange: members tell each other of the members they are linked with, so that who knows one
//! of them comes to know all.
//!
//! What a member tells is only a reason to dial. Whoever answers has to prove as everybody else that
//! it belongs to the cluster. So a member that tells of what is not there costs some dials, and their
//! number is bounded: few addresses at a time at which nobody was met, fewer for each member that
//! tells, each dialled seldom and let go of after a while.

use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
};

use super::{
    link::{LinkId, MemberLink},
    source::Source,
    table::{MemberTable, Told},
};
use crate::{
    config::PeerAddress,
    session::{BootId, Now},
    wire::MAX_TOLD_PEERS,
};

/// The addresses that members have told of, and which of them are dialled. `H` is what keeps the
/// dialling of one going.
#[derive(Debug)]
pub(crate) struct PeerExchange<H> {
    /// What the member at the other end of a link has told last.
    told: BTreeMap<LinkId, Vec<(BootId, PeerAddress)>>,
    dialled: Vec<Hearsay<H>>,
    /// Addresses at which nobody was found, and until when they are left alone.
    unreachable: VecDeque<(PeerAddress, u64)>,
}

/// An address that is dialled because a member has told of it.
#[derive(Debug)]
struct Hearsay<H> {
    source: Source,
    address: PeerAddress,
    teller: LinkId,
    began_ms: u64,
    has_met: bool,
    /// Whoever holds it dials.
    _dials: H,
}

impl<H> Default for PeerExchange<H> {
    fn default() -> Self {
        Self {
            told: BTreeMap::new(),
            dialled: Vec::new(),
            unreachable: VecDeque::new(),
        }
    }
}

impl<H> PeerExchange<H> {
    /// Notes of whom the member at the other end of a link, which came from `teller`, has told. It is
    /// all that it tells: what it has told before is over.
    pub(crate) fn hear(&mut self, link: LinkId, teller: IpAddr, told: Vec<(BootId, PeerAddress)>) {
        let mut told = told;
        told.retain(|(_, address)| may_be_dialled(address, teller));
        told.truncate(MAX_TOLD_PEERS);
        self.told.insert(link, told);
    }

    /// Notes that a link is over, whose member tells nothing any more.
    pub(crate) fn close(&mut self, link: LinkId) {
        self.told.remove(&link);
    }

    /// Decides which addresses are dialled from now on, and which no longer. `dial` begins to dial
    /// one.
    pub(crate) fn step<L: MemberLink>(
        &mut self,
        table: &mut MemberTable<L>,
        now: Now,
        mut dial: impl FnMut(&PeerAddress) -> H,
    ) {
        self.unreachable
            .retain(|(_, until_ms)| now.mono_ms < *until_ms);
        self.let_go(table, now);
        while let Some((teller, address)) = self.next(table) {
            let source = Source::Told(address.clone());
            table.add(&source);
            self.dialled.push(Hearsay {
                _dials: dial(&address),
                source,
                address,
                teller,
                began_ms: now.mono_ms,
                has_met: false,
            });
        }
    }

    /// Ends the dialling of what nobody is at any more, or ever was.
    fn let_go<L: MemberLink>(&mut self, table: &mut MemberTable<L>, now: Now) {
        let mut failed = Vec::new();
        self.dialled.retain_mut(|hearsay| {
            let stands = table.told(&hearsay.source, now);
            hearsay.has_met |= stands == Told::Here;
            let has_tried = now.mono_ms >= hearsay.began_ms.saturating_add(TRY_MS);
            let stays = match stands {
                Told::Here => true,
                Told::Nobody => !has_tried,
                Told::Gone | Told::Wrong => false,
            };
            if !stays {
                table.give_up(&hearsay.source);
                failed.push((
                    hearsay.address.clone(),
                    now.mono_ms.saturating_add(UNREACHABLE_MS),
                ));
            }
            stays
        });
        self.unreachable.extend(failed);
        let too_many = self.unreachable.len().saturating_sub(MAX_UNREACHABLE);
        self.unreachable.drain(..too_many);
    }

    /// Returns the next address to be dialled, and who has told of it.
    fn next<L: MemberLink>(&self, table: &MemberTable<L>) -> Option<(LinkId, PeerAddress)> {
        let unmet = |teller: Option<LinkId>| {
            let unmet = self.dialled.iter().filter(|hearsay| !hearsay.has_met);
            unmet
                .filter(|hearsay| teller.is_none_or(|teller| hearsay.teller == teller))
                .count()
        };
        if self.dialled.len() >= MAX_DIALLED || unmet(None) >= MAX_UNMET {
            return None;
        }
        // Who has the fewest addresses under way first: one that tells of many holds up no other.
        let tellers = self
            .told
            .keys()
            .map(|teller| (unmet(Some(*teller)), *teller));
        let mut tellers: Vec<_> = tellers
            .filter(|(unmet, _)| *unmet < MAX_UNMET_OF_ONE)
            .collect();
        tellers.sort_unstable();
        tellers.into_iter().find_map(|(_, teller)| {
            let is_new = |(boot, address): &&(BootId, PeerAddress)| {
                !table.is_linked(*boot)
                    && !table.dials(address)
                    && !self
                        .unreachable
                        .iter()
                        .any(|(unreachable, _)| unreachable == address)
            };
            let (_, address) = self.told[&teller].iter().find(is_new)?;
            Some((teller, address.clone()))
        })
    }
}

/// Returns whether an address that somebody at `teller` has told of can be that of a member. Loopback
/// means another machine to each machine, so only who is on this one may tell of it.
fn may_be_dialled(address: &PeerAddress, teller: IpAddr) -> bool {
    if address.is_loopback() {
        return teller.to_canonical().is_loopback();
    }
    match address.host.parse::<IpAddr>().map(|ip| ip.to_canonical()) {
        Ok(IpAddr::V4(ip)) => {
            let is_here = ip.octets()[0] == 0;
            !is_here && !ip.is_multicast() && !ip.is_broadcast()
        }
        Ok(IpAddr::V6(ip)) => !ip.is_unspecified() && !ip.is_multicast() && !is_link_local(ip),
        // A link-local address with a scope that means something elsewhere, or a name.
        Err(_) => !address.host.contains('%'),
    }
}

const fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfe80
}

/// Addresses that are dialled because somebody has told of them.
const MAX_DIALLED: usize = 256;
/// Those of them at which nobody was met, in all and of one member that tells.
const MAX_UNMET: usize = 32;
const MAX_UNMET_OF_ONE: usize = 8;
/// For how long an address is tried, and then left alone.
const TRY_MS: u64 = 30_000;
const UNREACHABLE_MS: u64 = 60_000;
const MAX_UNREACHABLE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{
        link::{Dialler, LinkIdentity, Traffic},
        table::{Newcomer, Reach},
    };

    #[derive(Clone, Debug)]
    struct TestLink(LinkIdentity);

    impl MemberLink for TestLink {
        fn identity(&self) -> &LinkIdentity {
            &self.0
        }

        fn is_closed(&self) -> bool {
            false
        }

        fn heard_ms(&self) -> u64 {
            0
        }

        fn is_expiring(&self) -> bool {
            false
        }

        fn traffic(&self) -> Traffic {
            Traffic::default()
        }
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const FORGET_MS: u64 = 60_000;

    const fn at(mono_ms: u64) -> Now {
        Now {
            wall_ms: 0,
            mono_ms,
        }
    }

    fn boot(number: u16) -> BootId {
        BootId::from_bytes((u64::from(number) << 48).to_be_bytes())
    }

    fn address(number: u16) -> PeerAddress {
        let text = format!("10.1.{}.{}:4100", number >> 8, number & 0xff);
        text.parse().expect("valid")
    }

    /// A node with its exchange, which notes what is dialled.
    struct Node {
        exchange: PeerExchange<()>,
        table: MemberTable<TestLink>,
        dialled: Vec<PeerAddress>,
    }

    impl Node {
        fn new() -> Self {
            Self {
                exchange: PeerExchange::default(),
                table: MemberTable::new(boot(1), 1_000, FORGET_MS),
                dialled: Vec::new(),
            }
        }

        fn hear(&mut self, link: u64, numbers: impl IntoIterator<Item = u16>) {
            let told = numbers.into_iter().map(|n| (boot(n), address(n))).collect();
            self.exchange.hear(LinkId(link), HERE, told);
        }

        fn step(&mut self, ms: u64) -> usize {
            let before = self.dialled.len();
            let dialled = &mut self.dialled;
            self.exchange.step(&mut self.table, at(ms), |address| {
                dialled.push(address.clone());
            });
            self.dialled.len() - before
        }

        /// The node of this number answers at the address that was told.
        fn meet(&mut self, number: u16) {
            let address = address(number);
            let remote = address.socket_address().expect("no name");
            let source = Source::Told(address);
            self.table.resolve(&source, &[remote], at(0));
            let link = TestLink(LinkIdentity {
                id: LinkId(u64::from(number)),
                name: format!("n{number}").into(),
                boot: boot(number),
                dialler: Dialler::Us,
            });
            let newcomer = Newcomer {
                link,
                dialled: Some(&source),
                advertised: None,
                remote,
            };
            self.table.admit(newcomer, at(0)).expect("new");
        }
    }

    #[test]
    fn who_is_told_of_is_dialled_once_unless_it_is_known() {
        let mut node = Node::new();
        node.hear(7, [1, 2, 3]);
        assert_eq!(node.step(0), 2, "one is this node itself");
        assert_eq!(node.dialled, [address(2), address(3)]);
        assert!(node.table.rows().is_empty(), "nobody was met");
        assert!(node.table.unlinked().is_none(), "nobody waits for them");
        node.meet(2);
        node.hear(8, [2, 3]);
        assert_eq!(node.step(1), 0);
        // Linked by another address: its boot is known.
        node.exchange
            .hear(LinkId(9), HERE, vec![(boot(2), address(77))]);
        assert_eq!(node.step(2), 0);
        // Listed by the operator.
        node.table.add(&Source::Listed(address(5)));
        node.hear(9, [5]);
        assert_eq!(node.step(3), 0);
    }

    #[test]
    fn seed_makes_a_node_know_a_cluster_of_two_hundred() {
        let mut node = Node::new();
        node.hear(7, 2..202);
        let mut steps = 0;
        while node.table.links().len() < 200 {
            assert!(
                node.step(steps) > 0,
                "{} are linked",
                node.table.links().len()
            );
            for number in 2..202 {
                if !node.table.is_linked(boot(number)) && node.dialled.contains(&address(number)) {
                    node.meet(number);
                }
            }
            steps += 100;
        }
        assert!(steps <= 3_000, "{steps} ms");
    }

    #[test]
    fn member_that_tells_of_what_is_not_there_has_few_addresses_dialled_and_seldom() {
        let mut node = Node::new();
        let mut seconds = 0;
        while seconds < 3_600 {
            // New ones each second, as many as a message takes.
            let first = u16::try_from(seconds % 200).expect("small") * 256 + 2;
            node.hear(7, first..first + 256);
            node.step(seconds * 1_000);
            seconds += 1;
            assert!(node.exchange.dialled.len() <= MAX_UNMET_OF_ONE);
            assert!(node.exchange.unreachable.len() <= MAX_UNREACHABLE);
        }
        let most = MAX_UNMET_OF_ONE as u64 * (3_600_000 / TRY_MS);
        let dialled = node.dialled.len() as u64;
        assert!(dialled <= most, "{dialled} addresses in an hour");
    }

    #[test]
    fn many_members_that_tell_of_what_is_not_there_hold_up_no_honest_one_for_long() {
        let mut node = Node::new();
        for link in 100..120 {
            let first = u16::try_from(link).expect("small") * 256;
            node.hear(link, first..first + 256);
        }
        assert_eq!(node.step(0), MAX_UNMET);
        node.hear(7, [2]);
        assert_eq!(node.step(1), 0, "there is no place");
        node.step(TRY_MS);
        assert!(
            node.dialled.contains(&address(2)),
            "it has the fewest under way"
        );
    }

    #[test]
    fn address_at_which_nobody_is_rests_and_is_tried_again() {
        let mut node = Node::new();
        node.hear(7, [2]);
        assert_eq!(node.step(0), 1);
        assert_eq!(node.step(TRY_MS - 1), 0);
        assert_eq!(node.step(TRY_MS), 0);
        assert!(node.exchange.dialled.is_empty());
        assert!(node.table.rows().is_empty());
        assert_eq!(node.step(TRY_MS + UNREACHABLE_MS - 1), 0);
        assert_eq!(node.step(TRY_MS + UNREACHABLE_MS), 1);
    }

    #[test]
    fn member_that_was_met_is_dialled_until_it_is_gone_for_long_enough() {
        let mut node = Node::new();
        node.hear(7, [2]);
        node.step(0);
        node.meet(2);
        node.exchange.close(LinkId(7));
        node.step(TRY_MS * 100);
        assert_eq!(node.exchange.dialled.len(), 1, "it is linked");
        node.table.close(LinkId(2));
        node.table.sweep(3_000, at(3_000));
        node.step(FORGET_MS - 1);
        assert_eq!(node.exchange.dialled.len(), 1);
        node.step(FORGET_MS);
        assert!(node.exchange.dialled.is_empty());
        assert!(node.table.rows().is_empty());
    }

    #[test]
    fn own_address_and_other_clusters_are_let_go_of() {
        let mut node = Node::new();
        node.hear(7, [2, 3]);
        node.step(0);
        let sources = [2, 3].map(|number| Source::Told(address(number)));
        for (source, number) in sources.iter().zip([2, 3]) {
            let remote = address(number).socket_address().expect("no name");
            node.table.resolve(source, &[remote], at(0));
        }
        let remote = |number| address(number).socket_address().expect("no name");
        assert!(node.table.is_myself(&sources[0], remote(2)));
        node.table
            .dial_failed(&sources[1], Some(remote(3)), Reach::Foreign);
        node.step(1);
        assert!(node.exchange.dialled.is_empty());
    }

    #[test]
    fn addresses_that_mean_another_machine_or_none_are_not_dialled() {
        let loopback: IpAddr = "127.0.0.1".parse().expect("valid");
        for (text, from_here, from_elsewhere) in [
            ("10.0.0.2:4100", true, true),
            ("[fd00::2]:4100", true, true),
            ("node2.internal:4100", true, true),
            ("127.0.0.2:4100", true, false),
            ("[::1]:4100", true, false),
            ("[::ffff:127.0.0.1]:4100", true, false),
            ("localhost:4100", true, false),
            ("0.0.0.0:4100", false, false),
            ("[::]:4100", false, false),
            ("224.0.0.1:4100", false, false),
            ("255.255.255.255:4100", false, false),
            ("[ff02::1]:4100", false, false),
            ("[fe80::1]:4100", false, false),
            ("[fe80::1%eth0]:4100", false, false),
        ] {
            let address: PeerAddress = text.parse().expect(text);
            let judged = [loopback, HERE].map(|teller| may_be_dialled(&address, teller));
            assert_eq!(judged, [from_here, from_elsewhere], "{text}");
        }
    }
}
