//! What the fuzzer has found or was given to begin with holds on every compiler.
//!
//! With `UPDATE_CORPUS` set the seeds below are written to where the fuzzer finds them.

#[path = "../fuzz/properties/mod.rs"]
mod properties;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use properties::{cookies, filter, frames, hello, links, messages, stream::Stream};
use tower_cluster_sessions::internals::{CookieHeaders, Words};

#[test]
fn frames_of_the_corpus_hold() {
    replay("frames", &frame_seeds(), frames::check);
}

#[test]
fn messages_of_the_corpus_hold() {
    replay("messages", &message_seeds(), messages::check);
}

/// Otherwise their growth is not looked at.
#[test]
fn items_that_are_repeated_are_what_an_honest_node_says() {
    let seeds = message_seeds();
    let items = seeds.iter().filter(|seed| seed.name.starts_with("many-"));
    let names: Vec<&str> = items
        .map(|Seed { name, bytes }| {
            let message = messages::supply(&bytes[1..], 1);
            assert!(Words::decode(&message).is_some(), "{name}");
            name.as_str()
        })
        .collect();
    assert_eq!(names.len(), 5, "{names:?}");
}

#[test]
fn links_of_the_corpus_hold() {
    replay("links", &link_seeds(), links::check);
}

#[test]
fn hellos_of_the_corpus_hold() {
    replay("hello", &hello_seeds(), hello::check);
}

#[test]
fn cookies_of_the_corpus_hold() {
    replay("cookies", &cookie_seeds(), cookies::check);
}

#[test]
fn filters_of_the_corpus_hold() {
    replay("filter", &filter_seeds(), filter::check);
}

struct Seed {
    name: String,
    bytes: Vec<u8>,
}

fn seed(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Seed {
    Seed {
        name: name.into(),
        bytes: bytes.into(),
    }
}

fn replay(target: &str, seeds: &[Seed], check: fn(&[u8])) {
    let folder = root().join("fuzz/corpus").join(target);
    if env::var_os("UPDATE_CORPUS").is_some() {
        fs::create_dir_all(&folder).expect("the package can be written");
        for Seed { name, bytes } in seeds {
            fs::write(folder.join(name), bytes).expect("the package can be written");
        }
    }
    for Seed { name, bytes } in seeds {
        let stored = fs::read(folder.join(name)).ok();
        let is_there = stored.is_some_and(|stored| stored == *bytes);
        assert!(
            is_there,
            "{target}/{name} is not this seed: set UPDATE_CORPUS"
        );
    }
    for entry in fs::read_dir(&folder).expect("the package can be read") {
        let path = entry.expect("the package can be read").path();
        println!("{}", path.display());
        check(&fs::read(path).expect("the package can be read"));
    }
}

fn frame_seeds() -> Vec<Seed> {
    let frames = |messages: &[&[u8]]| {
        let mut bytes = vec![0, 6];
        for message in messages {
            let framed = Stream::of_a_peer(1 << 20).encode(message);
            bytes.extend(framed.expect("short"));
        }
        bytes
    };
    let parts = b"\x02\x00\0\0\0\x03\x01ab\0\0\0\x02\0x\0\0\0\x03\x01cd\0\0\0\x02\x02e";
    vec![
        seed("whole", frames(&[b"one", b"", b"three"])),
        seed("longest", frames(&[&[7; 1024]])),
        seed("too-long", frames(&[&[7; 1025]])),
        seed("parts-around-a-whole", parts),
        seed("lone-last-part", b"\x00\x00\0\0\0\x02\x02x"),
        seed("empty-frame", b"\x00\x00\0\0\0\0"),
        seed("unknown-flag", b"\x00\x00\0\0\0\x01\x03"),
        seed("torn", b"\x00\x00\0\0\0\x09\x00torn"),
        seed("announced-too-long", b"\x00\x00\xff\xff\xff\xff"),
    ]
}

/// The bytes of every message, as the crate keeps them.
fn golden() -> Vec<Vec<u8>> {
    let byte = |at, line: &str| u8::from_str_radix(&line[at..at + 2], 16).expect("hex");
    let bytes = |line: &str| {
        (0..line.len())
            .step_by(2)
            .map(|at| byte(at, line))
            .collect()
    };
    include_str!("../src/wire/golden.txt")
        .lines()
        .map(bytes)
        .collect()
}

/// The kind of each golden message, and how many of that kind stand before it.
fn golden_names() -> Vec<String> {
    let kinds: Vec<u8> = golden().iter().map(|bytes| bytes[0]).collect();
    let name = |(at, kind): (usize, &u8)| {
        let before = kinds[..at].iter().filter(|other| *other == kind).count();
        match before {
            0 => format!("{kind:02}"),
            _ => format!("{kind:02}-{}", before + 1),
        }
    };
    kinds.iter().enumerate().map(name).collect()
}

fn message_seeds() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = golden()
        .into_iter()
        .zip(golden_names())
        .map(|(bytes, name)| seed(format!("golden-{name}"), bytes))
        .collect();
    let item = |name: &str, bytes: Vec<u8>| seed(name, [vec![0xFF], bytes].concat());
    seeds.push(item("many-absent", vec![3]));
    seeds.push(item("many-destroyed", vec![2, 0, 0x7F]));
    seeds.push(item("many-small-states", state(1, &[])));
    for (name, death) in [
        ("many-dead-secrets", 1),
        ("secret-that-dies-in-the-future", 0xFE),
    ] {
        let mut bytes = state(1, &[]);
        // Instead of no secret one, which the first origin killed.
        bytes.truncate(bytes.len() - 2);
        bytes.extend([&[1], &[9; 16][..], &[0, 0, 1, 1, death]].concat());
        bytes.extend(if death > 0x7F {
            &[0xFF, 0x7F, 0][..]
        } else {
            &[0]
        });
        seeds.push(item(name, bytes));
    }
    let names: Vec<u8> = (b'a'..=b'z')
        .flat_map(|name| [1, name, 0, 0, 1, 2])
        .collect();
    seeds.push(item(
        "many-small-names",
        state(1, &[&[26], &names[..]].concat()),
    ));
    let empty = |tag: &[u8]| [&[1, 1, b'n'], tag, &[2]].concat();
    for (name, origin) in [("gone", 200), ("listed", 3)] {
        let tag = [&[1, 5], &boot(origin)[..], &[0]].concat();
        seeds.push(item(
            &format!("old-write-of-an-origin-{name}"),
            state(64, &empty(&tag)),
        ));
    }
    seeds.push(item("old-write-of-nobody", {
        let tag = [&[1, 0], &[0; 8][..], &[0]].concat();
        state(64, &empty(&tag))
    }));
    seeds
}

/// A full state that so many origins wrote, of which number 3 long ago, with these attributes.
fn state(origins: u8, registers: &[u8]) -> Vec<u8> {
    // A full state without context, route, limits or age, and used at stamp 1, the oldest.
    let mut bytes = vec![1, 0, 0, 0, 0, 0, 0, 0, 1, origins];
    for origin in 0..origins {
        bytes.extend(boot(origin));
        bytes.push(0);
        match origin {
            3 => bytes.push(2),
            // Days after that, in the varint of a stamp.
            _ => bytes.extend([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]),
        }
    }
    bytes.extend(if registers.is_empty() {
        &[0]
    } else {
        registers
    });
    bytes.extend([0, 0]);
    bytes
}

const fn boot(number: u8) -> [u8; 8] {
    [number; 8]
}

fn link_seeds() -> Vec<Seed> {
    let said = |messages: &[Vec<u8>]| {
        let mut bytes = Vec::new();
        for message in messages {
            let length = u16::try_from(message.len()).expect("short");
            bytes.extend(length.to_be_bytes());
            bytes.extend(message);
        }
        bytes
    };
    let live = vec![0, 0, 0, 1, 0, 0];
    let golden = golden();
    let mut seeds: Vec<Seed> = golden[1..]
        .iter()
        .zip(&golden_names()[1..])
        .map(|(message, name)| {
            let name = format!("live-then-{name}");
            seed(name, said(&[live.clone(), message.clone()]))
        })
        .collect();
    let batch = {
        let mut batch = golden[1].clone();
        batch[1] = 0;
        batch
    };
    seeds.push(seed("batch", said(&[live.clone(), batch.clone()])));
    let differs = [&[6], &[1; 8][..], &[1]].concat();
    let digests = golden[8].clone();
    seeds.push(seed(
        "background-round",
        said(&[
            live.clone(),
            differs.clone(),
            differs.clone(),
            differs,
            digests.clone(),
            vec![10, 1, 0, 1, 0, 0],
        ]),
    ));
    let listings: Vec<Vec<u8>> = (0..8).map(|shard| vec![9, 1, shard, 1, 0]).collect();
    let all = [
        vec![live.clone(), vec![7]],
        listings,
        vec![vec![11, 0], vec![13], vec![14]],
    ];
    seeds.push(seed("peer-joins", said(&all.concat())));
    seeds.push(seed(
        "skip-then-round",
        said(&[live, vec![2, 9], batch, digests]),
    ));
    seeds
}

fn hello_seeds() -> Vec<Seed> {
    let hello = b"\x01\x01\x08sessions\x02n2\x07\x07\x07\x07\x07\x07\x07\x07";
    let words = |parts: &[&[u8]]| [b"TwCS", &parts.concat()[..]].concat();
    vec![
        seed("hello", words(&[hello, b"\0"])),
        seed("hello-advertised", words(&[hello, b"\x01\x03h:1"])),
        seed("hello-exchanging", words(&[hello, b"\0\x01"])),
        seed("hello-of-a-later-release", words(&[hello, b"\0later"])),
        seed("welcome", words(&[b"\0", hello, b"\0"])),
        seed("wrong-cluster", words(&[b"\x01\0\x01a\x01b"])),
        seed("duplicate-name", words(&[b"\x01\x01\x01n"])),
        seed("same-boot", words(&[b"\x01\x02"])),
        seed("version", words(&[b"\x01\x03\x01\x01\x02\xac\x02"])),
        seed("go", words(&[b"\0"])),
        seed("http", b"GET / HTTP/1.1\r\n\r\n"),
    ]
}

fn cookie_seeds() -> Vec<Seed> {
    let id = "A".repeat(43);
    let nine = vec![format!("__Host-id={id}"); 9];
    let token = CookieHeaders::readable_token();
    vec![
        seed("one", format!("__Host-id={id}")),
        seed("route", format!("a=b; __Host-id={id}.node1; c=d")),
        seed("nine-in-one-field", nine.join("; ")),
        seed("nine-in-fields-of-their-own", nine.join("\n")),
        seed("seen", format!("__Host-id={id}; __Host-id-seen={token}")),
        seed("bits-behind-the-end", format!("__Host-id={}B", &id[1..])),
        seed(
            "neighbour-is-not-text",
            [b"x=\xff; __Host-id=", id.as_bytes()].concat(),
        ),
        seed("spaces-and-quotes", format!(" __Host-id = \"{id}\" ;;=;")),
    ]
}

fn filter_seeds() -> Vec<Seed> {
    let deep = format!("{}a{}", "(".repeat(250), ")".repeat(250));
    vec![
        seed(
            "how-to",
            b".*\\.(gif|js|jpg|png|html?|css|txt)\0/static/a.gif",
        ),
        seed("how-to-unclosed", b".*\\.(gif|.*\\.(js|.*\\.(jpg|;"),
        seed("how-to-escaped-letter", b".*\\.gif;.*\\js;.*\\jpg;"),
        seed("literal", b"/health\0/health"),
        seed("alternatives", b"/a|/b\0/ab"),
        seed("look-ahead", b"/(?!static).*"),
        seed("back-reference", b"(a)\\1"),
        seed("possessive", b".*+gif"),
        seed("verbose-with-a-comment", b"(?x) /a # the letter\0/a"),
        seed("not-utf-8", b"(?-u)\\xff"),
        seed("too-large", b"\\w{1000}{1000}"),
        seed(
            "slow-elsewhere",
            b"(a*)*b\0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac",
        ),
        seed("not-ascii", "ä[".as_bytes()),
        seed("nested-as-deep-as-it-goes", deep),
    ]
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
