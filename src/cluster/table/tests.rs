//! Each test tells the table what a node meets.

use super::*;
use crate::cluster::{
    link::{Dialler, Traffic},
    source::Discovered,
};

const NOW: Now = at_ms(0);
const FORGET_MS: u64 = 60_000;

const fn at_ms(ms: u64) -> Now {
    Now {
        wall_ms: 0,
        mono_ms: (1 << 41) + ms,
    }
}

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
        let members = MemberTable::new(own, 1000, FORGET_MS);
        let mut table = Self { members, links: 0 };
        for (name, last) in peers.iter().zip(1..) {
            assert!(table.members.add(&peer(name)));
            table.resolve(name, &[at(last)]);
        }
        table
    }

    fn resolve(&mut self, name: &str, found: &[SocketAddr]) -> Vec<SocketAddr> {
        self.members.resolve(&peer(name), found, NOW)
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
        peer: &Source,
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

fn peer(text: &str) -> Source {
    Source::Listed(text.parse().expect("valid"))
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
    let later = at_ms(3_000);
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
    let peer = peer("node-b:1");
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
    assert_eq!(table.members.peers(), ["nodes:1".parse().expect("valid")]);
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
    let later = at_ms(3_000);
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

fn discovery() -> Source {
    Source::Discovered(Discovered {
        number: 0,
        text: "dns:nodes:1".into(),
        name: Some("nodes:1".parse().expect("valid")),
    })
}

/// Three members that a discovery has found.
fn table_of_a_discovery() -> Table {
    let mut table = Table::new(&[]);
    table.members.add(&discovery());
    let all = [at(1), at(2), at(3)];
    assert_eq!(table.members.resolve(&discovery(), &all, NOW), all);
    for (last, name) in [(1, "b"), (2, "c"), (3, "d")] {
        let dialled = table.dial_at(&discovery(), at(last), name, u16::from(last) + 1);
        dialled.expect("new");
    }
    table
}

impl Table {
    fn discover(&mut self, found: &[SocketAddr], ms: u64) -> Vec<SocketAddr> {
        self.members.resolve(&discovery(), found, at_ms(ms))
    }

    fn lose(&mut self, name: &str) {
        let links = self.members.links();
        let link = links.iter().find(|link| &*link.0.name == name);
        self.members.close(link.expect("linked").0.id);
    }

    fn is_down(&mut self, ms: u64) {
        self.members.sweep(3_000, at_ms(ms));
    }
}

#[test]
fn member_with_a_link_stays_whatever_a_discovery_tells() {
    let mut table = table_of_a_discovery();
    let all = [at(1), at(2), at(3)];
    for (found, ms) in [(&[][..], 1_000), (&[at(9)][..], FORGET_MS * 2)] {
        let dialled = table.discover(found, ms);
        assert!(all.iter().all(|at| dialled.contains(at)), "{dialled:?}");
        assert_eq!(table.members.links().len(), 3);
    }
}

#[test]
fn member_that_is_gone_is_looked_for_until_it_was_away_for_long_enough() {
    let mut table = table_of_a_discovery();
    let rest = [at(2), at(3)];
    table.lose("b");
    table.is_down(FORGET_MS - 1);
    assert_eq!(table.discover(&rest, FORGET_MS - 1), [at(1), at(2), at(3)]);
    assert_eq!(table.discover(&rest, FORGET_MS), rest);
    assert_eq!(table.rows().len(), 2);
    // As long as it is told of, it is dialled.
    table.lose("c");
    table.is_down(FORGET_MS * 9);
    assert_eq!(table.discover(&rest, FORGET_MS * 9), rest);
}

#[test]
fn node_that_said_goodbye_and_is_told_of_no_more_is_not_looked_for() {
    let mut table = table_of_a_discovery();
    let link = table.members.links().remove(0);
    table.members.leave(link.0.id);
    table.members.close(link.0.id);
    assert_eq!(table.discover(&[at(2), at(3)], 0), [at(2), at(3)]);
}

#[test]
fn address_at_which_nobody_was_met_goes_with_the_list_that_told_of_it() {
    let mut table = table_of_a_discovery();
    table.discover(&[at(1), at(2), at(3), at(4)], 0);
    assert_eq!(table.members.unlinked(), Some(Reach::Untried));
    table.discover(&[at(1), at(2), at(3)], 1);
    assert!(table.members.unlinked().is_none());
}

#[test]
fn node_that_gets_a_new_address_is_one_member() {
    let mut table = table_of_a_discovery();
    table.lose("b");
    table.discover(&[at(4), at(2), at(3)], 10);
    let moved = table.dial_at(&discovery(), at(4), "b", 9);
    assert_eq!(moved.expect("the old one is gone").outlived.len(), 1);
    let names = table.rows().into_iter().filter_map(|(_, name)| name);
    assert_eq!(names.filter(|name| name == "b").count(), 1);
    // Nobody is looked for any more where it was.
    assert!(!table.discover(&[at(4), at(2), at(3)], 20).contains(&at(1)));
    assert_eq!(table.rows().len(), 3);
}

#[test]
fn node_is_not_alone_before_a_discovery_has_told_who_is_there() {
    let mut table = Table::new(&[]);
    table.members.add(&discovery());
    assert_eq!(table.members.unlinked(), Some(Reach::Untried));
    // It fails: nobody knows.
    table.members.dial_failed(&discovery(), None, Reach::Mute);
    assert_eq!(table.members.unlinked(), Some(Reach::Mute));
    assert_eq!(table.members.unlinked_addresses(), ["dns:nodes:1".into()]);
    // It tells of nobody, and then of this node alone.
    assert!(table.discover(&[], 0).is_empty());
    assert_eq!(table.members.unlinked(), Some(Reach::Unreachable));
    table.discover(&[at(9)], 0);
    assert!(table.members.is_myself(&discovery(), at(9)));
    assert!(table.members.unlinked().is_none());
    assert!(table.rows().is_empty());
    // A failure later is no news.
    table.members.dial_failed(&discovery(), None, Reach::Mute);
    assert!(table.members.unlinked().is_none());
}

#[test]
fn nodes_of_another_cluster_that_a_discovery_finds_are_nobody() {
    let wrong = Refusal::WrongCluster {
        here: "a".to_owned(),
        there: "b".to_owned(),
    };
    assert_eq!(Reach::of_refusal(&wrong, &peer("nodes:1")), Reach::Refused);
    let found = Reach::of_refusal(&wrong, &discovery());
    let mut table = Table::new(&[]);
    table.members.add(&discovery());
    table.discover(&[at(1), at(2)], 0);
    table.members.dial_failed(&discovery(), Some(at(1)), found);
    assert_eq!(table.members.unlinked(), Some(Reach::Untried));
    table.dial_at(&discovery(), at(2), "b", 2).expect("new");
    assert!(table.members.unlinked().is_none());
    assert!(table.members.exclusion().is_none());
    assert_eq!(table.rows(), [row(&at(2).to_string(), "b")]);
}

#[test]
fn both_ip_versions_that_a_discovery_tells_of_are_one_member() {
    let mut table = Table::new(&[]);
    table.members.add(&discovery());
    table.discover(&[at(1), v6(1)], 0);
    table.dial_at(&discovery(), at(1), "b", 2).expect("new");
    let second = table.dial_at(&discovery(), v6(1), "b", 2);
    assert_eq!(second.expect_err("linked already"), Refusal::Duplicate);
    assert_eq!(table.rows(), [row(&at(1).to_string(), "b")]);
    table.lose("b");
    table.is_down(FORGET_MS);
    assert_eq!(table.rows().len(), 1);
    assert!(
        table.discover(&[], FORGET_MS).is_empty(),
        "both are forgotten"
    );
}

#[test]
fn node_that_only_dialled_us_is_forgotten_when_it_was_gone_for_long_enough() {
    let mut table = Table::new(&["node-z:1"]);
    table.accept(None, "b", 2).expect("new");
    table.lose("b");
    table.is_down(FORGET_MS - 1);
    assert_eq!(table.rows().len(), 2);
    table.is_down(FORGET_MS);
    assert_eq!(
        table.rows(),
        [("node-z:1".to_owned(), None)],
        "it is listed"
    );
}

#[test]
fn members_are_told_of_by_what_they_advertise_or_where_they_were_met() {
    let mut table = Table::new(&["node-b:1"]);
    table.dial("node-b:1", "b", 2).expect("new");
    table.accept(Some("node-c:1"), "c", 3).expect("new");
    table.accept(None, "d", 4).expect("new");
    let told = |table: &Table| {
        let contacts = table.members.contacts();
        contacts.map(|(_, at)| at.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(told(&table), ["127.0.0.1:1", "node-c:1"]);
    for link in table.members.links() {
        table.members.listens_at(link.0.id, at(7));
    }
    assert_eq!(told(&table), ["127.0.0.1:1", "node-c:1", "127.0.0.7:1"]);
    table.lose("c");
    assert_eq!(told(&table).len(), 2, "only those with a link");
}
