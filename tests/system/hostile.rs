//! A peer that has said hello correctly and then does harm, against two nodes under load.
//!
//! It may do what it wants to sessions that it knows. It must not be able to bring a node down, have
//! it use memory without bound, come between the other nodes, or touch what it does not know. The
//! table in docs/hostile-peers.md says what becomes of each attack.
#![cfg(target_os = "linux")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::net::TcpListener;

use crate::support::{
    hostile::{Mallory, let_in},
    load::Load,
    processes::{Node, plans, start_all, state_of},
    words::{Claim, Heard, Part, Words},
};

/// Two honest nodes with visitors who alternate between them.
struct Scene {
    nodes: Vec<Node>,
    load: Load,
    before: Vec<u64>,
}

impl Scene {
    async fn start() -> Self {
        let mut plans = plans(&["node1", "node2"]);
        for plan in &mut plans {
            let sessions = MAX_SESSIONS.to_string();
            let tombstone_bytes = (64 * MAX_TOMBSTONES).to_string();
            plan.flags = vec!["--max-sessions".to_owned(), sessions];
            plan.flags
                .extend(["--max-tombstone-bytes".to_owned(), tombstone_bytes]);
            let_in(plan);
        }
        let nodes = start_all(plans).await;
        let hosts = nodes.iter().map(Node::http).collect();
        let load = Load::start(hosts, VISITORS, Duration::from_secs(60));
        load.until_answered(50).await;
        let before = nodes.iter().map(Node::resident_bytes).collect();
        Self {
            nodes,
            load,
            before,
        }
    }

    /// A link to one of the nodes, on which the first word has been said.
    async fn link(&self, node: usize) -> Mallory {
        let mut mallory = self.silent_link(node, "mallory", 0x66).await;
        mallory.begin().await;
        mallory
    }

    async fn silent_link(&self, node: usize, name: &str, boot: u8) -> Mallory {
        Mallory::dial(self.nodes[node].links(), name, boot).await
    }

    /// Visitors must go on and have lost nothing, the nodes must run, be linked as before, and have
    /// grown by no more than `room` bytes.
    async fn end(self, room: u64) {
        self.load.until_answered(50).await;
        let mut grown = Vec::new();
        for (node, before) in self.nodes.iter().zip(&self.before) {
            grown.push(node.resident_bytes().saturating_sub(*before));
        }
        let report = self.load.stop().await;
        println!("{report}; the nodes have grown by {grown:?} bytes");
        report.assert_nothing_lost();
        assert!(grown.iter().all(|grown| *grown <= room), "{grown:?} {room}");
        self.nodes[0].until_sees(&self.nodes[1], &["up"]).await;
        self.nodes[1].until_sees(&self.nodes[0], &["up"]).await;
        for node in &self.nodes {
            let log = node.log();
            assert!(!log.contains("panicked"), "{log}");
            for other in &self.nodes {
                let parted = format!("closed the link to [{}]", other.name());
                assert!(!log.contains(&parted), "{log}");
            }
        }
    }
}

/// A session's key that nobody has minted, one of many.
fn key(number: u32) -> [u8; 16] {
    let mut bytes = [0x33; 16];
    bytes[..4].copy_from_slice(&number.wrapping_mul(0x9E37_79B9).to_be_bytes());
    bytes[12..].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// Changes one after the other, as long as the node takes them. How many it took.
async fn stream(mallory: &mut Mallory, parts: impl IntoIterator<Item = Vec<Part>>) -> u64 {
    let mut position = 0;
    for parts in parts {
        if !mallory
            .say(&Words::batch(position, position + 1, parts))
            .await
        {
            break;
        }
        position += 1;
    }
    position
}

/// What holds before a node has answered what it was told before: that it has taken it in.
async fn settle(mallory: &mut Mallory) {
    let marker = key(u32::MAX);
    if mallory.say(&Words::want(&[marker])).await {
        let told = |heard: Heard| heard.is_of(&marker).then_some(());
        // It may close the link instead, which is as good.
        let _ = mallory.until(told).await;
    }
}

#[tokio::test]
async fn stamps_in_the_future_and_at_the_limit() {
    let scene = Scene::start().await;
    let mut mallory = scene.link(0).await;
    let at = |number, stamp| {
        let claim = Claim {
            stamp,
            ..Claim::new(key(number))
        };
        claim.full()
    };
    let far = i64::MAX as u64;
    let parts = (0..100).map(|number| vec![at(number, far - u64::from(number))]);
    assert_eq!(stream(&mut mallory, parts).await, 100);
    settle(&mut mallory).await;
    scene.end(ROOM).await;
}

#[tokio::test]
async fn vectors_that_grow_until_no_decoder_takes_them() {
    let scene = Scene::start().await;
    let mut mallory = scene.link(0).await;
    let claim = |boot| Claim {
        boot: [boot; 8],
        writers: 4096,
        ..Claim::new(key(1))
    };
    let parts = (1..=50).map(|boot| vec![claim(boot).full()]);
    stream(&mut mallory, parts).await;
    settle(&mut mallory).await;
    scene.end(ROOM).await;
}

/// Each node gets other parts of the same session, and neither can take in the other's.
#[tokio::test]
async fn one_session_told_differently_to_each_node_and_too_large_together() {
    let scene = Scene::start().await;
    for (node, boot) in [(0, 1), (1, 2)] {
        let mut mallory = scene.silent_link(node, "mallory", 0x66).await;
        mallory.begin().await;
        let claim = Claim {
            boot: [boot; 8],
            writers: 2000,
            names: 500,
            bytes: 100,
            secrets: 100,
            ..Claim::new(key(1))
        };
        stream(&mut mallory, [vec![claim.full()]]).await;
        settle(&mut mallory).await;
    }
    // The nodes have found that they differ, and tried to agree.
    scene.nodes[0]
        .until_logged(&["over limit", "[node2]"])
        .await;
    scene.end(ROOM).await;
}

#[tokio::test]
async fn writes_in_the_name_of_nodes_that_live() {
    let scene = Scene::start().await;
    let boots = [
        scene.silent_link(0, "eve", 0x65).await.boot,
        scene.silent_link(1, "eve", 0x65).await.boot,
    ];
    let mut mallory = scene.link(0).await;
    let parts = boots.iter().flat_map(|boot| {
        (0..100).map(|number| {
            let claim = Claim {
                boot: *boot,
                ..Claim::new(key(number))
            };
            vec![claim.full(), claim.delta(0), claim.delta(7)]
        })
    });
    stream(&mut mallory, parts).await;
    settle(&mut mallory).await;
    scene.end(ROOM).await;
}

#[tokio::test]
async fn changes_of_sessions_and_by_writers_that_nobody_knows() {
    let scene = Scene::start().await;
    let mut mallory = scene.link(0).await;
    // Each asks for the whole session, and no answer comes.
    let parts = (0..400).map(|batch| {
        let parts = (0..500).map(|at| Claim::new(key(batch * 500 + at)).delta(7));
        parts.collect()
    });
    let taken = stream(&mut mallory, parts).await;
    println!("{taken} batches");
    mallory.until_closed().await;
    scene.end(ROOM).await;
}

#[tokio::test]
async fn tombstones_of_what_nobody_knows() {
    let scene = Scene::start().await;
    let mut mallory = scene.link(0).await;
    let parts = (0..100).map(|batch| {
        let tombstones = (0..1000).map(|at| Part::tombstone(key(batch * 1000 + at), DAY_MS));
        tombstones.collect()
    });
    assert_eq!(stream(&mut mallory, parts).await, 100, "the link stays");
    settle(&mut mallory).await;
    let status = scene.nodes[0].status().await;
    assert_eq!(status["tombstones"], MAX_TOMBSTONES, "{status:#}");
    assert!(status["over_limit"].as_u64() > Some(0), "{status:#}");
    scene.end(ROOM).await;
}

#[tokio::test]
async fn ids_that_are_all_alike() {
    let scene = Scene::start().await;
    let mut mallory = scene.link(0).await;
    let alike = |number: u32| {
        let mut bytes = [0x33; 16];
        bytes[4..8].copy_from_slice(&number.to_be_bytes());
        Part::tombstone(bytes, DAY_MS)
    };
    let parts = (0..100).map(|batch| (0..1000).map(|at| alike(batch * 1000 + at)).collect());
    stream(&mut mallory, parts).await;
    settle(&mut mallory).await;
    scene.end(ROOM).await;
}

#[tokio::test]
async fn sessions_beyond_all_limits() {
    let scene = Scene::start().await;
    for node in [0, 1] {
        let mut mallory = scene.link(node).await;
        let first = 1_000_000 * u32::try_from(node).expect("two nodes");
        let parts = (0..50).map(|batch| {
            let sessions = (0..200).map(|at| Claim::new(key(first + batch * 200 + at)).full());
            sessions.collect()
        });
        stream(&mut mallory, parts).await;
        settle(&mut mallory).await;
    }
    let status = scene.nodes[0].status().await;
    assert!(
        status["sessions"].as_u64() <= Some(2 * MAX_SESSIONS),
        "{status:#}"
    );
    scene.end(ROOM).await;
}

#[tokio::test]
async fn ten_thousand_contexts() {
    let scene = Scene::start().await;
    let mut mallory = scene.link(0).await;
    let parts = (0..10_000).map(|number| {
        let claim = Claim {
            context: format!("context-{number}"),
            idle_ms: Some(u64::from(number) + 60_000),
            ..Claim::new(key(number))
        };
        vec![claim.full()]
    });
    stream(&mut mallory, parts).await;
    settle(&mut mallory).await;
    scene.end(ROOM).await;
}

#[tokio::test]
async fn ten_thousand_attributes_or_secrets() {
    let scene = Scene::start().await;
    let claims = [
        Claim {
            names: 10_000,
            ..Claim::new(key(1))
        },
        Claim {
            secrets: 10_000,
            ..Claim::new(key(1))
        },
        Claim {
            writers: 10_000,
            ..Claim::new(key(1))
        },
    ];
    for claim in claims {
        let mut mallory = scene.link(0).await;
        stream(&mut mallory, [vec![claim.full()]]).await;
        mallory.until_closed().await;
    }
    scene.end(ROOM).await;
}

#[tokio::test]
async fn messages_that_are_larger_once_decoded() {
    let scene = Scene::start().await;
    let mut mallory = scene.link(0).await;
    for round in 0..20 {
        let sessions = (0..20).map(|at| {
            let claim = Claim {
                names: 2000,
                bytes: 0,
                ..Claim::new(key(round * 20 + at))
            };
            claim.full()
        });
        mallory.say(&Words::supply(sessions.collect())).await;
        let absent = (0..40_000).map(|at| Part::absent(key(at)));
        mallory.say(&Words::supply(absent.collect())).await;
    }
    settle(&mut mallory).await;
    scene.end(ROOM).await;
}

#[tokio::test]
async fn listings_of_a_million_keys() {
    let scene = Scene::start().await;
    let mut mallory = scene.link(0).await;
    let keys: Vec<_> = (0..40_000).map(key).collect();
    for shard in 0..25 {
        if !mallory.say(&Words::listing(1, shard, &keys)).await {
            break;
        }
    }
    mallory.until_closed().await;
    scene.end(ROOM).await;
}

#[tokio::test]
async fn asking_for_everything_again_and_again() {
    let scene = Scene::start().await;
    let mut mallory = scene.link(0).await;
    let keys: Vec<_> = (0..10_000).map(key).collect();
    for _ in 0..20 {
        for shard in 0..100 {
            mallory.say(&Words::listing(1, shard, &[])).await;
        }
        mallory.say(&Words::ask_digests()).await;
        mallory.say(&Words::want(&keys)).await;
        settle(&mut mallory).await;
    }
    scene.end(ROOM).await;
}

#[tokio::test]
async fn asking_and_never_reading() {
    let scene = Scene::start().await;
    let mut mallory = scene.link(0).await;
    let asked = async |mallory: &mut Mallory, round: u32| {
        let keys: Vec<_> = (0..10_000).map(|at| key(round * 10_000 + at)).collect();
        mallory.say(&Words::want(&keys)).await && mallory.say(&Words::ask_digests()).await
    };
    let mut rounds = 0;
    while rounds < 200 && asked(&mut mallory, rounds).await {
        rounds += 1;
    }
    println!("cut off after {rounds} rounds");
    assert!(rounds < 200);
    scene.end(ROOM).await;
}

/// The node has to tell of the tombstone, and nobody listens.
#[tokio::test]
async fn destroyed_sessions_sent_for_ever_and_never_reading() {
    let scene = Scene::start().await;
    let mut mallory = scene.link(0).await;
    let session = || Claim::new(key(1)).full();
    let tombstone = vec![Part::tombstone(key(1), DAY_MS)];
    let again = (0..500).map(|_| (0..500).map(|_| session()).collect());
    let parts = std::iter::once(tombstone).chain(again);
    stream(&mut mallory, parts).await;
    scene.end(ROOM).await;
}

#[tokio::test]
async fn never_acknowledging_or_lying_about_it() {
    let scene = Scene::start().await;
    {
        // Lagging, and then not waited for.
        let mut mallory = scene.link(0).await;
        scene.nodes[0]
            .until_logged(&["member lagging", "mallory"])
            .await;
        mallory.say(&Words::heartbeat(0)).await;
    }
    let lies: [fn(u64) -> Words; 5] = [
        |head| Words::ack(head + 1_000_000),
        |_| Words::ack(u64::MAX),
        |_| Words::credit(u64::MAX),
        |_| Words::differences(7, 7, Vec::new(), &[]),
        |_| Words::live(0, 0, 0),
    ];
    for lie in lies {
        let mut mallory = scene.link(0).await;
        let head = |heard| match heard {
            Heard::Resume { head } => Some(head),
            _ => None,
        };
        let head = mallory.until(head).await.expect("its first word");
        mallory.say(&lie(head)).await;
        mallory.until_closed().await;
    }
    let mut mallory = scene.silent_link(0, "mallory", 0x66).await;
    mallory
        .say(&Words::live(u64::MAX, u64::MAX, u64::MAX))
        .await;
    mallory.until_closed().await;
    scene.end(ROOM).await;
}

#[tokio::test]
async fn positions_that_go_backwards_or_far_ahead() {
    let scene = Scene::start().await;
    let orders = [
        vec![
            Words::batch(0, 5, Vec::new()),
            Words::batch(3, 6, Vec::new()),
        ],
        vec![Words::batch(7, 9, Vec::new())],
        vec![Words::skip(u64::MAX), Words::skip(3)],
        vec![
            Words::batch(0, u64::MAX, Vec::new()),
            Words::batch(0, 1, Vec::new()),
        ],
    ];
    for order in orders {
        let mut mallory = scene.link(0).await;
        for words in order {
            mallory.say(&words).await;
        }
        mallory.until_closed().await;
    }
    let mut mallory = scene.link(0).await;
    for position in 1..5000 {
        mallory.say(&Words::skip(position)).await;
    }
    settle(&mut mallory).await;
    scene.end(ROOM).await;
}

#[tokio::test]
async fn frames_that_never_end_or_mean_nothing() {
    let scene = Scene::start().await;
    let frame = |flag: u8, payload: &[u8]| {
        let length = u32::try_from(payload.len() + 1).expect("short");
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.push(flag);
        bytes.extend_from_slice(payload);
        bytes
    };
    let part = frame(1, &[7; 64 * 1024]);
    let endless = vec![part.clone(); 200];
    let whole = frame(0, Words::heartbeat(1).bytes());
    let woven = vec![part.clone(), whole.clone(), frame(2, &[7; 9])];
    let unknown = vec![frame(0, &[99, 1, 2, 3])];
    let too_long = vec![u32::MAX.to_be_bytes().to_vec()];
    let flag = vec![frame(9, b"x")];
    let hello = vec![frame(
        0,
        Words::hello("sessions", "mallory", [0x66; 8]).bytes(),
    )];
    let behind = vec![frame(0, Words::leave().bytes()), part.clone(), part];
    for attack in [endless, woven, unknown, too_long, flag, hello, behind] {
        let mut mallory = scene.link(0).await;
        for bytes in attack {
            if !mallory.send(&bytes).await {
                break;
            }
        }
        mallory.until_closed().await;
    }
    // The longest frame, byte by byte as far as patience goes.
    let mut mallory = scene.link(0).await;
    let longest = frame(0, &vec![7; (1 << 20) - 1]);
    for byte in &longest[..20_000] {
        mallory.send(&[*byte]).await;
    }
    mallory.send(&longest[20_000..]).await;
    mallory.until_closed().await;
    scene.end(ROOM).await;
}

#[tokio::test]
async fn a_hundred_links_under_a_hundred_names() {
    let scene = Scene::start().await;
    let mut links = Vec::new();
    let mut refused = 0;
    for number in 0..100u8 {
        let name = format!("mallory{number}");
        let node = scene.nodes[0].links();
        match Mallory::try_dial(node, &name, 100 + number).await {
            Some(mut mallory) => {
                mallory.begin().await;
                let keys: Vec<_> = (0..10_000).map(key).collect();
                mallory.say(&Words::want(&keys)).await;
                links.push(mallory);
            }
            None => refused += 1,
        }
    }
    println!("{} links, {refused} refused", links.len());
    // By its own name nobody is let in while the node of that name is there.
    for name in ["node1", "node2"] {
        let node = scene.nodes[0].links();
        assert!(Mallory::try_dial(node, name, 0x77).await.is_none());
    }
    scene.end(ROOM).await;
}

#[tokio::test]
async fn answers_to_what_nobody_asked() {
    let scene = Scene::start().await;
    let mut mallory = scene.link(0).await;
    for round in 0..50 {
        let answers = (0..500).map(|at| Part::absent(key(round * 500 + at)));
        mallory.say(&Words::answer(answers.collect())).await;
        mallory.say(&Words::digests(u64::from(round))).await;
        mallory.say(&Words::heartbeat(u64::from(round))).await;
    }
    settle(&mut mallory).await;
    assert_eq!(
        state_of(&scene.nodes[0].status().await, "node2"),
        Some("up")
    );
    scene.end(ROOM).await;
}

#[tokio::test]
async fn members_that_are_not_there_are_dialled_few_at_a_time() {
    const ONE_TELLS: usize = 8;
    let scene = Scene::start().await;
    let mut mallory = scene.link(0).await;
    let dialled = Arc::new(AtomicUsize::new(0));
    let mut victims = Vec::new();
    for _ in 0..40 {
        let victim = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        victims.push(victim.local_addr().expect("bound"));
        let dialled = Arc::clone(&dialled);
        tokio::spawn(async move {
            let first = victim.accept().await;
            dialled.fetch_add(1, Ordering::Relaxed);
            // Whoever comes again is let in, and told nothing.
            let mut held = vec![first];
            loop {
                held.push(victim.accept().await);
            }
        });
    }
    // Again and again, as one that insists.
    for _ in 0..12 {
        mallory.say(&Words::peers(&victims)).await;
        let beat = |heard| matches!(heard, Heard::Heartbeat { .. }).then_some(());
        mallory.until(beat).await.expect("the node keeps the link");
    }
    assert_eq!(dialled.load(Ordering::Relaxed), ONE_TELLS);
    let members = scene.nodes[0].status().await["members"].clone();
    assert_eq!(members.as_array().map(Vec::len), Some(2), "{members:#}");
    scene.end(ROOM).await;
}

const VISITORS: usize = 4;
/// Small, so that limits are reached.
const MAX_SESSIONS: u64 = 1000;
const MAX_TOMBSTONES: u64 = 8000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// What a node may grow by, whatever it is sent: what the limits of its store allow, and what links
/// hold that are read from and written to.
const ROOM: u64 = 96 << 20;
