//! A message takes little more memory than its bytes, and what is accepted can be sent on.

use tower_cluster_sessions::internals::Words;

/// A message; or, behind a byte that begins none, one session's part of a message, which is
/// repeated until its growth shows.
pub(crate) fn check(data: &[u8]) {
    match data.split_first() {
        Some((&REPEATED, item)) => check_message(&repeated(item)),
        _ => check_message(data),
    }
}

fn check_message(bytes: &[u8]) {
    let Some(message) = Words::decode(bytes) else {
        return;
    };
    let memory = message.memory();
    let most = 8 * bytes.len() + ROOM;
    assert!(memory <= most, "{memory} for {} bytes", bytes.len());
    let mut encoded = Vec::new();
    message.encode(&mut encoded);
    let Some(again) = Words::decode(&encoded) else {
        panic!("{message:?} was accepted and is not when sent on");
    };
    assert_eq!(again, message);
    let mut encoded_again = Vec::new();
    again.encode(&mut encoded_again);
    assert_eq!(encoded_again, encoded);
}

/// A supply of the same session over and over, as long as a message may be; of one, if that is
/// not acceptable anyway.
fn repeated(item: &[u8]) -> Vec<u8> {
    let once = supply(item, 1);
    if Words::decode(&once).is_none() {
        return once;
    }
    supply(item, LONG / once.len())
}

pub(crate) fn supply(item: &[u8], times: usize) -> Vec<u8> {
    let mut bytes = vec![SUPPLY];
    put_length(times, &mut bytes);
    for _ in 0..times {
        bytes.extend([7; 16]);
        bytes.extend(item);
    }
    bytes
}

fn put_length(mut length: usize, bytes: &mut Vec<u8>) {
    while length >= 0x80 {
        bytes.push(length as u8 | 0x80);
        length >>= 7;
    }
    bytes.push(length as u8);
}

const REPEATED: u8 = 0xFF;
const SUPPLY: u8 = 11;
/// Long enough that the factor counts and not the room.
const LONG: usize = 256 << 10;
/// What a message of many tiny attributes may take beyond its share.
const ROOM: usize = 1 << 20;
