//! Links: made, cut, healed, and ended by what a peer does.

use std::future::ready;

use bytes::BytesMut;
use futures_util::FutureExt as _;

use super::*;
use crate::{
    cluster::MemberLink as _,
    config::{Limits, ListenAddress, Shape},
    node::net::{
        handshake,
        tls::Accepted,
        transport::{BoxIo, Transport as _},
    },
    session::BootId,
    wire::{DecodeLimits, FrameCodec, Hello, Message, message::Lineage},
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test(start_paused = true)]
async fn crossing_dials_end_in_one_link_that_stays() {
    for _ in 0..20 {
        let network = MemoryNetwork::default();
        let (one, two) = pair(&network).await;
        let mut events = one.events();
        let quiet = timeout(Duration::from_secs(5), until(&mut events, |_| true)).await;
        assert!(quiet.is_err(), "nothing happens any more: {quiet:?}");
        assert_eq!(one.node().peers.live().len(), 1);
        assert_eq!(two.node().peers.live().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn changes_made_during_a_cut_arrive_after_it() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    let key = create(one.node());
    let position = set(one.node(), &key, "a", &1.into());
    assert_eq!(one.node().acknowledged(position, Ack::All).await, 1);
    network.cut();
    until_seen(&one, "n2", MemberState::Suspect).await;
    let position = set(one.node(), &key, "a", &2.into());
    assert_eq!(
        one.node().acknowledged(position, Ack::All).await,
        0,
        "a peer that is gone is not waited for"
    );
    assert_eq!(get(two.node(), &key, "a"), Some(1.into()));
    until_seen(&one, "n2", MemberState::Down).await;
    network.heal();
    until_seen(&one, "n2", MemberState::Up).await;
    wait_until("the change arrives", || {
        get(two.node(), &key, "a") == Some(2.into())
    })
    .await;
}

/// Not with the scheduler of one thread, which gives nobody precedence: on a worker thread, whoever
/// is woken runs next.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn changes_of_one_turn_of_the_scheduler_leave_together() {
    let on_the_worker = async {
        let (one, _two) = pair(&MemoryNetwork::default()).await;
        let key = create(one.node());
        let sent = || one.node().peers.live()[0].traffic().sent;
        let change = |value: u64| {
            let node = Arc::clone(one.node());
            tokio::spawn(async move { set(&node, &key, "a", &value.into()) })
        };
        let mut bytes = Vec::new();
        for changes in [1, 1, 4] {
            let before = sent();
            for change in (0..changes).map(change).collect::<Vec<_>>() {
                let position = change.await.expect("it does not panic");
                one.node().acknowledged(position, Ack::All).await;
            }
            bytes.push(sent() - before);
        }
        // Changes of one session that leave together are one; a heartbeat may be between.
        assert!(bytes[2] < 2 * bytes[1], "{bytes:?}");
    };
    tokio::spawn(on_the_worker).await.expect("it holds");
}

#[tokio::test(start_paused = true)]
async fn links_are_made_anew_before_they_are_too_old_and_no_acknowledgement_is_missed() {
    let network = MemoryNetwork::default();
    let start = |port, peers: &[u16]| {
        let config = config(&format!("n{port}"), port, peers)
            .max_link_age(MINUTE)
            .unconfirmed_timeout(Duration::MAX);
        start_with(&network, port, &config)
    };
    let (one, two) = (start(1, &[2]), start(2, &[1]));
    until_seen(&one, "n2", MemberState::Up).await;
    until_seen(&two, "n1", MemberState::Up).await;
    let mut events = [one.events(), two.events()];
    let key = create(one.node());
    let mut links = std::collections::BTreeSet::new();
    for second in 0..300 {
        let position = set(one.node(), &key, "n", &second.into());
        assert_eq!(one.node().acknowledged(position, Ack::All).await, 1);
        links.extend(one.node().peers.live().iter().map(|link| link.identity.id));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!((5..=8).contains(&links.len()), "{links:?}");
    for events in &mut events {
        while let Some(Some(event)) = events.recv().now_or_never() {
            assert!(!matches!(event, Event::Member(_)), "{event:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn link_that_its_dialler_does_not_make_anew_ends_at_its_age() {
    let network = MemoryNetwork::default();
    let one = start_with(&network, 1, &config("n1", 1, &[]).max_link_age(MINUTE));
    let two = start(&network, "n2", 2, &[1]);
    until_seen(&one, "n2", MemberState::Up).await;
    let mut events = one.events();
    let before_ms = one.node().now().mono_ms;
    until(&mut events, |e| is_member(e, MemberEventKind::Suspect)).await;
    let age_ms = one.node().now().mono_ms - before_ms;
    assert!((59_000..=61_000).contains(&age_ms), "{age_ms}");
    until(&mut events, |e| is_member(e, MemberEventKind::Up)).await;
    assert_eq!(two.members().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn destroyed_sessions_are_gone_everywhere() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    let user = serde_json::json!({"name": "ann", "id": 7});
    let same = serde_json::json!({"id": 7, "name": "ann"});
    let keys = [
        create_in(one.node(), "", &user),
        create_in(one.node(), "", &same),
        create_in(one.node(), "shop", &user),
        create_in(one.node(), "", &8.into()),
    ];
    let position = one.node().commit(&keys[3]);
    one.node().acknowledged(position, Ack::All).await;
    wait_until("all are there", || two.session_count() == 4).await;
    let destroyed = two.sessions("").destroy_where("user", &same).await;
    assert_eq!(destroyed.expect("json").sessions, 2);
    let left: Vec<bool> = keys.iter().map(|key| holds(&one, key)).collect();
    assert_eq!(left, [false, false, true, true]);
    assert!(two.destroy(&keys[3].public_id(None)).await);
    assert!(!holds(&one, &keys[3]));
    assert!(!two.destroy(&keys[3].public_id(None)).await);
    assert!(!two.destroy("nonsense").await);
    assert_eq!((one.session_count(), one.stats().tombstones), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn last_handle_closes_links_and_frees_everything() {
    let network = MemoryNetwork::default();
    let (one, two) = pair(&network).await;
    let node = Arc::downgrade(two.node());
    let mut events = two.events();
    drop(two);
    wait_until("no task holds the node", || node.upgrade().is_none()).await;
    let ended = async { while events.recv().await.is_some() {} };
    timeout(PATIENCE, ended).await.expect("the stream ends");
    until_seen(&one, "n2", MemberState::Down).await;
}

#[tokio::test(start_paused = true)]
async fn peer_that_never_acknowledges_delays_a_request_by_the_timeout_only() {
    let network = MemoryNetwork::default();
    let peer = FakePeer::listen(&network, 2);
    let one = start(&network, "n1", 1, &[2]);
    let mut events = one.events();
    let mut peer = peer.meet().await;
    peer.say(&Message::Resume {
        applied: None,
        head: None,
        lineage: FRESH,
    })
    .await;
    let beats = tokio::spawn(async move {
        loop {
            peer.say(&Message::Heartbeat {
                root: 0,
                ready: true,
            })
            .await;
            peer.read_some().await;
        }
    });
    until(&mut events, |event| is_member(event, MemberEventKind::Up)).await;
    wait_until("it streams", || {
        one.node().peers.live()[0].inspect(|link| link.acks().counted)
    })
    .await;
    let key = create(one.node());
    let position = set(one.node(), &key, "a", &1.into());
    let before = one.node().now().mono_ms;
    assert_eq!(one.node().acknowledged(position, Ack::All).await, 0);
    let waited = one.node().now().mono_ms - before;
    assert!((900..=1_300).contains(&waited), "{waited} ms");
    until(&mut events, |event| {
        is_member(event, MemberEventKind::Lagging)
    })
    .await;
    assert_eq!(state_of(&one, "fake"), Some(MemberState::Lagging));
    let position = set(one.node(), &key, "a", &2.into());
    let before = one.node().now().mono_ms;
    one.node().acknowledged(position, Ack::All).await;
    assert_eq!(one.node().now().mono_ms, before, "it is not waited for now");
    beats.abort();
}

#[tokio::test(start_paused = true)]
async fn peer_that_falls_silent_is_down() {
    let network = MemoryNetwork::default();
    let peer = FakePeer::listen(&network, 2);
    let one = start(&network, "n1", 1, &[2]);
    let mut events = one.events();
    let mut peer = peer.meet().await;
    peer.say(&Message::Resume {
        applied: None,
        head: None,
        lineage: FRESH,
    })
    .await;
    until(&mut events, |e| is_member(e, MemberEventKind::Up)).await;
    until(&mut events, |e| is_member(e, MemberEventKind::Down)).await;
    assert!(one.node().peers.live().is_empty());
    assert!(
        one.is_ready(),
        "a donor that gives nothing is no reason to wait for ever"
    );
}

#[tokio::test(start_paused = true)]
async fn peer_that_breaks_the_protocol_is_cut_off() {
    let network = MemoryNetwork::default();
    let peer = FakePeer::listen(&network, 2);
    let one = start(&network, "n1", 1, &[2]);
    let mut peer = peer.meet().await;
    peer.say(&Message::RoundDone).await;
    peer.read_to_the_end().await;
    assert_eq!(one.stats().violations, 1);
}

struct FakePeer {
    acceptor: Box<dyn crate::node::net::transport::Acceptor>,
}

struct Met {
    io: BoxIo,
    codec: FrameCodec,
}

impl FakePeer {
    fn listen(network: &MemoryNetwork, port: u16) -> Self {
        let listen = ListenAddress::parse(&address(port), 1).expect("valid");
        let acceptor = network.transport(port).bind(&listen).expect("free");
        Self { acceptor }
    }

    async fn meet(mut self) -> Met {
        let (io, _) = self.acceptor.accept().await;
        let accepted = Accepted::plain(io);
        let hello = Hello {
            min_version: 1,
            max_version: 1,
            cluster: "sessions".to_owned(),
            node: "fake".to_owned(),
            boot: BootId::from_bytes([3; 8]),
            advertise: None,
            exchanges_peers: false,
        };
        let (io, _) = handshake::listen(ready(Ok(accepted)), &hello, |theirs| hello.judge(theirs))
            .await
            .expect("they meet");
        let limits = DecodeLimits::new(&Limits::default(), &Shape::default());
        Met {
            io,
            codec: FrameCodec::established(Message::max_length(&limits)),
        }
    }
}

impl Met {
    async fn say(&mut self, message: &Message) {
        let (mut bytes, mut out) = (Vec::new(), BytesMut::new());
        message.encode(0, &mut bytes);
        self.codec.encode_message(&bytes, &mut out).expect("short");
        self.io.write_all(&out).await.expect("it listens");
    }

    async fn read_some(&mut self) {
        let mut buffer = [0; 4096];
        let read = self.io.read(&mut buffer).await.expect("it speaks");
        assert!(read > 0, "the node keeps the link");
    }

    async fn read_to_the_end(&mut self) {
        let mut buffer = Vec::new();
        // A reset is an end, too.
        let _ = self.io.read_to_end(&mut buffer).await;
    }
}

const MINUTE: Duration = Duration::from_secs(60);
const FRESH: Lineage = Lineage {
    holds: false,
    away: false,
    lineage_ms: 0,
};
