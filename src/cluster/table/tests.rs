//! Each test tells the table what a node meets.

use super::*;
use crate::cluster::link::{Dialler, Traffic};

const NOW: Now = Now {
    wall_ms: 0,
    mono_ms: 1 << 41,
};

/// A link that was heard just now, and is never closed before the table knows.
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
        NOW.mono_ms
    }

    fn is_expiring(&self) -> bool {
        self.0.name.starts_with("old")
    }

    fn traffic(&self) -> Traffic {
        Traffic {
            sent: 10,
            received: 1,
        }
    }
}

struct Table {
    members: MemberTable<TestLink>,
    links: u64,
}

impl Table {
    fn new(peers: &[&str]) -> Self {
        let own = BootId::from_bytes([5; 8]);
        let members = MemberTable::new(own, 1000);
        let mut table = Self { members, links: 0 };
        for (name, last) in peers.iter().zip(1..) {
            assert!(table.members.add(&peer(name)));
            table.resolve(name, &[at(last)]);
        }
        table
    }

    fn resolve(&mut self, name: &str, found: &[SocketAddr]) -> Vec<SocketAddr> {
        self.members.resolve(&peer(name), found)
    }

    fn link(&mut self, name: &str, boot: u16, dialler: Dialler) -> TestLink {
        self.links += 1;
        TestLink(LinkIdentity {
            id: LinkId(self.links),
            name: name.into(),
            boot: BootId::from_bytes((u64::from(boot) << 48).to_be_bytes()),
            dialler,
        })
    }

    /// Dials the first address of a peer.
    fn dial(&mut self, peer: &str, name: &str, boot: u16) -> Result<Admitted<TestLink>, Refusal> {
        let peer = self::peer(peer);
        let first = self.members.of(&peer).find_map(|entry| entry.at);
        self.dial_at(&peer, first.expect("resolved"), name, boot)
    }

    fn dial_at(
        &mut self,
        peer: &PeerAddress,
        remote: SocketAddr,
        name: &str,
        boot: u16,
    ) -> Result<Admitted<TestLink>, Refusal> {
        let link = self.link(name, boot, Dialler::Us);
        let newcomer = Newcomer {
            link,
            dialled: Some(peer),
            advertised: None,
            remote,
        };
        self.members.admit(newcomer, NOW)
    }

    fn accept(
        &mut self,
        advertised: Option<&str>,
        name: &str,
        boot: u16,
    ) -> Result<Admitted<TestLink>, Refusal> {
        let link = self.link(name, boot, Dialler::Them);
        let newcomer = Newcomer {
            link,
            dialled: None,
            advertised,
            remote: ([127, 0, 0, 1], 50_000).into(),
        };
        self.members.admit(newcomer, NOW)
    }

    /// Address and name of each member.
    fn rows(&self) -> Vec<(String, Option<String>)> {
        let rows = self.members.rows().into_iter();
        rows.map(|row| (row.address.to_string(), row.name.map(|n| n.to_string())))
            .collect()
    }
}

fn peer(text: &str) -> PeerAddress {
    text.parse().expect("valid")
}

fn at(last: u8) -> SocketAddr {
    ([127, 0, 0, last], 1).into()
}

fn v6(last: u16) -> SocketAddr {
    ([0, 0, 0, 0, 0, 0, 0, last], 1).into()
}

fn row(address: &str, name: &str) -> (String, Option<String>) {
    (address.to_owned(), Some(name.to_owned()))
}

#[test]
fn configured_peer_that_dials_us_first_is_known_by_what_it_advertises() {
    let mut table = Table::new(&["node-b:1"]);
    let admitted = table.accept(Some("node-b:1"), "b", 2).expect("new");
    assert!(admitted.is_news);
    assert_eq!(table.rows(), [row("node-b:1", "b")]);
    let link = table.members.link_to(&peer("node-b:1"), at(1));
    assert!(link.is_some(), "no need to dial it");
}

#[test]
fn configured_peer_is_recognised_by_dialling_it_although_it_is_linked() {
    let mut table = Table::new(&["node-b:1"]);
    table.accept(None, "b", 2).expect("new");
    assert_eq!(table.rows().len(), 2, "nobody knows yet that they are one");
    assert!(table.members.unlinked() == Some(Reach::Untried));
    assert_eq!(
        table.dial("node-b:1", "b", 2).expect_err("linked already"),
        Refusal::Duplicate
    );
    assert_eq!(table.rows(), [row("node-b:1", "b")]);
    assert!(table.members.unlinked().is_none());
    assert_eq!(table.members.links().len(), 1);
}

#[test]
fn node_that_restarts_takes_its_place_under_its_name() {
    let mut table = Table::new(&[]);
    let first = table.accept(None, "b", 2).expect("new");
    assert!(first.is_news);
    let twin = table.accept(None, "b", 3).expect_err("the first one lives");
    assert!(matches!(twin, Refusal::NameTaken { .. }));
    let link = table.members.links().remove(0);
    let gone = table.members.close(link.0.id).expect("it was up");
    assert_eq!(&*gone.name, "b");
    assert!(
        table
            .accept(None, "b", 3)
            .expect("the name is free")
            .is_news
    );
    assert_eq!(table.rows().len(), 1);
}

#[test]
fn peer_that_dials_again_replaces_its_link_without_news() {
    let mut table = Table::new(&[]);
    table.accept(None, "b", 2).expect("new");
    let again = table.accept(None, "b", 2).expect("it lost the first one");
    assert!(!again.is_news);
    assert_eq!(again.replaced.len(), 1);
    assert_eq!(table.members.links().len(), 1);
    assert!(table.members.close(again.replaced[0].0.id).is_none());
}

#[test]
fn member_is_down_after_a_while_of_silence_unless_it_left() {
    let mut table = Table::new(&[]);
    table.accept(None, "b", 2).expect("new");
    table.accept(None, "c", 3).expect("new");
    for link in table.members.links() {
        if &*link.0.name == "c" {
            table.members.leave(link.0.id).expect("it is there");
        }
        table.members.close(link.0.id);
    }
    assert!(table.members.sweep(3_000, NOW).is_empty());
    let later = Now {
        mono_ms: NOW.mono_ms + 3_000,
        ..NOW
    };
    let down = table.members.sweep(3_000, later);
    assert_eq!(
        down.iter().map(|label| &*label.name).collect::<Vec<_>>(),
        ["b"]
    );
    assert!(table.members.sweep(3_000, later).is_empty(), "told once");
}

#[test]
fn unlisted_members_are_bounded_and_the_living_stay() {
    let mut table = Table::new(&["node-a:1"]);
    let name = |n: usize| format!("n{n}");
    for n in 0..MAX_UNLISTED {
        let boot = u16::try_from(n + 10).expect("few");
        table.accept(None, &name(n), boot).expect("room");
    }
    let refused = table
        .accept(None, "more", 9_999)
        .expect_err("all are alive");
    assert_eq!(refused, Refusal::NotListed);
    let link = table.members.links().remove(7);
    table.members.close(link.0.id);
    table.accept(None, "more", 9_999).expect("one is gone");
    let rows = table.rows();
    assert_eq!(rows.len(), 1 + MAX_UNLISTED);
    assert!(rows.iter().all(|(_, name)| name.as_deref() != Some("n7")));
}

#[test]
fn cluster_of_two_hundred_nodes_needs_one_seed() {
    let mut table = Table::new(&["node-a:1"]);
    for boot in 10..210 {
        let joined = table.accept(None, &format!("n{boot}"), boot);
        joined.expect("nodes that nobody has listed");
    }
}

#[test]
fn bytes_of_links_that_are_gone_still_count() {
    let mut table = Table::new(&[]);
    table.accept(None, "b", 2).expect("new");
    table.accept(None, "b", 2).expect("it lost the first one");
    let traffic = table.members.rows()[0].traffic;
    assert_eq!((traffic.sent, traffic.received), (20, 2));
}

#[test]
fn peer_is_removed_with_its_link_once() {
    let mut table = Table::new(&["node-b:1"]);
    let peer = "node-b:1".parse().expect("valid");
    table.dial("node-b:1", "b", 2).expect("new");
    let removed = table.members.remove(&peer);
    assert!(matches!(removed, Removal::Removed { links, .. } if links.len() == 1));
    assert!(matches!(table.members.remove(&peer), Removal::NotListed));
    assert!(table.rows().is_empty());
}

#[test]
fn node_that_is_replaced_at_another_address_is_one_member() {
    let replaced = |replace: fn(&mut Table) -> Result<Admitted<TestLink>, Refusal>| {
        let mut table = Table::new(&["node-b:1", "node-c:1"]);
        table.dial("node-b:1", "b", 2).expect("new");
        table.members.close(LinkId(1)).expect("it was up");
        replace(&mut table).expect("its former self is gone");
        let unknown = ("node-b:1".to_owned(), None);
        assert_eq!(table.rows(), [unknown, row("node-c:1", "b")]);
        table.dial("node-b:1", "d", 4).expect("another node");
        assert_eq!(table.rows(), [row("node-b:1", "d"), row("node-c:1", "b")]);
    };
    replaced(|table| table.dial("node-c:1", "b", 3));
    replaced(|table| table.accept(Some("node-c:1"), "b", 3));
}

/// A name that stands for three members and this node itself.
fn table_of_a_name() -> Table {
    let mut table = Table::new(&["nodes:1"]);
    let all = [at(1), at(2), at(3), at(9)];
    assert_eq!(table.resolve("nodes:1", &all), all);
    assert!(table.members.is_myself(&peer("nodes:1"), at(9)));
    for (last, name) in [(1, "b"), (2, "c"), (3, "d")] {
        let dialled = table.dial_at(&peer("nodes:1"), at(last), name, u16::from(last) + 1);
        assert!(dialled.expect("new").is_news);
    }
    table
}

#[test]
fn name_of_several_addresses_stands_for_several_members() {
    let mut table = table_of_a_name();
    let rows = ["b", "c", "d"].into_iter().zip(1..);
    let rows: Vec<_> = rows
        .map(|(name, last)| row(&at(last).to_string(), name))
        .collect();
    assert_eq!(table.rows(), rows);
    assert_eq!(table.members.links().len(), 3);
    assert_eq!(table.members.peers(), [peer("nodes:1")]);
    assert!(table.members.unlinked().is_none());
    let removed = table.members.remove(&peer("nodes:1"));
    assert!(matches!(removed, Removal::Removed { links, .. } if links.len() == 3));
    assert!(table.rows().is_empty());
    assert!(
        table.resolve("nodes:1", &[at(1)]).is_empty(),
        "not listed any more"
    );
}

#[test]
fn address_that_is_not_told_any_more_is_dialled_as_long_as_a_member_is_there() {
    let mut table = table_of_a_name();
    let rest = [at(2), at(3), at(9)];
    let all = [at(1), at(2), at(3), at(9)];
    assert_eq!(table.resolve("nodes:1", &rest), all, "it is linked");
    table.members.close(LinkId(1)).expect("it was up");
    assert_eq!(table.resolve("nodes:1", &rest), all, "it may be back");
    let later = Now {
        mono_ms: NOW.mono_ms + 3_000,
        ..NOW
    };
    assert_eq!(table.members.sweep(3_000, later).len(), 1);
    assert_eq!(table.resolve("nodes:1", &rest), rest);
    assert_eq!(table.rows().len(), 2);
}

#[test]
fn member_whose_only_address_changes_keeps_its_place() {
    let mut table = Table::new(&["node-b:1"]);
    table.dial("node-b:1", "b", 2).expect("new");
    table.members.leave(LinkId(1)).expect("it was up");
    table.members.close(LinkId(1));
    assert_eq!(table.resolve("node-b:1", &[at(7)]), [at(7)]);
    assert_eq!(table.rows(), [row("node-b:1", "b")]);
    table.dial("node-b:1", "b", 3).expect("it is back");
    assert_eq!(table.rows(), [row("node-b:1", "b")]);
}

#[test]
fn both_ip_versions_of_one_node_are_one_member_with_one_link() {
    let mut table = Table::new(&["node-b:1"]);
    table.resolve("node-b:1", &[at(1), v6(1)]);
    let node = peer("node-b:1");
    table.dial_at(&node, at(1), "b", 2).expect("new");
    let second = table.dial_at(&node, v6(1), "b", 2);
    assert_eq!(second.expect_err("linked already"), Refusal::Duplicate);
    assert_eq!(table.rows(), [row(&at(1).to_string(), "b")]);
    assert!(table.members.link_to(&node, v6(1)).is_some());
    assert_eq!(table.members.links().len(), 1);
    assert!(table.members.unlinked().is_none());
}

#[test]
fn ip_version_at_which_nobody_listens_is_no_member() {
    let mut table = Table::new(&["localhost:1"]);
    let node = peer("localhost:1");
    table.resolve("localhost:1", &[at(1), v6(1)]);
    table
        .members
        .dial_failed(&node, Some(v6(1)), Reach::Unreachable);
    assert_eq!(table.rows().len(), 2, "it may be there");
    table.dial_at(&node, at(1), "b", 2).expect("new");
    assert_eq!(table.rows(), [row(&at(1).to_string(), "b")]);
    assert!(table.members.unlinked().is_none());
    assert!(table.members.is_spare(&node, v6(1)) && !table.members.is_spare(&node, at(1)));
}

#[test]
fn peer_that_dials_us_before_its_name_is_looked_up_is_found_by_it() {
    let mut table = Table::new(&[]);
    table.members.add(&peer("node-b:1"));
    table.accept(Some("node-b:1"), "b", 2).expect("new");
    table.resolve("node-b:1", &[at(1)]);
    assert_eq!(table.rows(), [row("node-b:1", "b")]);
    assert!(table.members.link_to(&peer("node-b:1"), at(1)).is_some());
}

#[test]
fn members_of_a_name_that_dial_us_first_are_told_apart_by_dialling_them() {
    let mut table = Table::new(&[]);
    table.members.add(&peer("nodes:1"));
    table.accept(Some("nodes:1"), "b", 2).expect("new");
    table.accept(Some("nodes:1"), "c", 3).expect("new");
    table.resolve("nodes:1", &[at(1), at(2)]);
    for (last, name, boot) in [(1, "c", 3), (2, "b", 2)] {
        let dialled = table.dial_at(&peer("nodes:1"), at(last), name, boot);
        assert_eq!(dialled.expect_err("linked already"), Refusal::Duplicate);
    }
    assert_eq!(
        table.rows(),
        [row(&at(1).to_string(), "c"), row(&at(2).to_string(), "b")]
    );
    assert_eq!(table.members.links().len(), 2);
    assert!(table.members.unlinked().is_none());
}

#[test]
fn link_that_is_nearly_too_old_gives_way_to_the_next_one() {
    let mut table = Table::new(&["node-b:1"]);
    table.dial("node-b:1", "old-b", 2).expect("new");
    let next = table
        .dial("node-b:1", "old-b", 2)
        .expect("the first is old");
    assert_eq!((next.is_news, next.replaced.len()), (false, 1));
    assert_eq!(table.members.links().len(), 1);
}
