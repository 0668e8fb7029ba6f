//! The writes of a client, as it carries them from node to node.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{BootId, Origin, SessionKey, Stamp, Tag};
use crate::config::ClusterSecret;

/// The last writes of one session that a client knows of, one for each origin, the newest first.
///
/// There are four at most: within the time that a change takes to arrive everywhere, a session is
/// seldom written on more nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Token(Vec<Tag>);

impl Token {
    /// Adds a write. Of one origin the later stays, of more than four origins the latest do.
    pub(crate) fn add(&mut self, tag: Tag) {
        match self.0.iter_mut().find(|held| held.origin == tag.origin) {
            Some(held) => held.stamp = held.stamp.max(tag.stamp),
            None => self.0.push(tag),
        }
        self.0.sort_unstable_by(|a, b| b.cmp(a));
        self.0.truncate(MAX_TAGS);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for tag in &other.0 {
            self.add(*tag);
        }
    }

    pub(crate) fn retain(&mut self, keep: impl FnMut(&Tag) -> bool) {
        self.0.retain(keep);
    }

    pub(crate) fn tags(&self) -> &[Tag] {
        &self.0
    }

    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MAX_TAGS * TAG_LENGTH + MAC_LENGTH);
        for Tag { stamp, origin } in &self.0 {
            bytes.extend_from_slice(&origin.boot.bytes());
            bytes.extend_from_slice(&origin.epoch.to_be_bytes());
            bytes.extend_from_slice(&stamp.get().to_be_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (tags, rest) = bytes.as_chunks::<TAG_LENGTH>();
        let count = 1..=MAX_TAGS;
        if !rest.is_empty() || !count.contains(&tags.len()) {
            return None;
        }
        let mut token = Self::default();
        for tag in tags {
            let (boot, tag) = tag.split_first_chunk()?;
            let (epoch, tag) = tag.split_first_chunk()?;
            let (stamp, _) = tag.split_first_chunk()?;
            let origin = Origin {
                boot: BootId::from_bytes(*boot),
                epoch: u32::from_be_bytes(*epoch),
            };
            let stamp = Stamp::new(u64::from_be_bytes(*stamp))?;
            token.add(Tag { stamp, origin });
        }
        Some(token)
    }
}

/// The keys that sign and check tokens. A token without a valid code is nothing: else anybody could
/// have requests wait for writes that never were.
#[derive(Clone)]
pub(crate) struct TokenKey(Box<[Hmac<Sha256>]>);

impl TokenKey {
    /// Returns keys of which the first one signs and all are accepted, `None` without any.
    pub(crate) fn new(keys: &[ClusterSecret]) -> Option<Self> {
        let mac = |key: &ClusterSecret| {
            let mac = Hmac::new_from_slice(key.bytes()).expect("HMAC takes keys of every length");
            mac.chain_update(PURPOSE)
        };
        let macs: Box<[_]> = keys.iter().map(mac).collect();
        (!macs.is_empty()).then_some(Self(macs))
    }

    /// Returns the token of one session as text: base64url of at most 96 bytes.
    pub(crate) fn sign(&self, key: &SessionKey, token: &Token) -> String {
        let mut bytes = token.encode();
        let code = code(&self.0[0], key, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&code[..MAC_LENGTH]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a token, `None` for anything that no node with these keys has signed for this session.
    pub(crate) fn verify(&self, key: &SessionKey, text: &str) -> Option<Token> {
        let mut buffer = [0; MAX_TAGS * TAG_LENGTH + MAC_LENGTH];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut buffer).ok()?;
        let (tags, code) = buffer.get(..length)?.split_last_chunk::<MAC_LENGTH>()?;
        let signed = |mac| {
            self::code(mac, key, tags)
                .verify_truncated_left(code)
                .is_ok()
        };
        if !self.0.iter().any(signed) {
            return None;
        }
        Token::decode(tags)
    }
}

fn code(mac: &Hmac<Sha256>, key: &SessionKey, tags: &[u8]) -> Hmac<Sha256> {
    mac.clone().chain_update(key.bytes()).chain_update(tags)
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey(_)")
    }
}

const MAX_TAGS: usize = 4;
/// Boot id, epoch and stamp.
const TAG_LENGTH: usize = 8 + 4 + 8;
/// Half of a SHA-256, as RFC 2104 allows: a guess succeeds once in 2^128.
const MAC_LENGTH: usize = 16;
/// So that no other use of the same key signs what passes for a token.
const PURPOSE: &[u8] = b"tower-cluster-sessions token 1\0";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::fixtures::origin;

    const SESSION: SessionKey = SessionKey::from_bytes([7; 16]);

    fn key(byte: u8) -> TokenKey {
        TokenKey::new(&[ClusterSecret::from_bytes([byte; 32])]).expect("a key")
    }

    fn tag(boot: u8, stamp: u64) -> Tag {
        Tag {
            stamp: Stamp::new(stamp).expect("small"),
            origin: origin(boot),
        }
    }

    fn token(tags: &[Tag]) -> Token {
        let mut token = Token::default();
        tags.iter().for_each(|tag| token.add(*tag));
        token
    }

    #[test]
    fn of_one_origin_the_later_write_stays_and_of_many_the_four_newest() {
        let mut merged = token(&[tag(1, 10), tag(2, 20), tag(1, 5)]);
        assert_eq!(merged.tags(), [tag(2, 20), tag(1, 10)]);
        merged.merge(&token(&[tag(1, 30), tag(3, 1), tag(4, 25), tag(5, 15)]));
        let newest = [tag(1, 30), tag(4, 25), tag(2, 20), tag(5, 15)];
        assert_eq!(merged.tags(), newest);
    }

    #[test]
    fn what_is_signed_is_read_again() {
        for count in 1..=4 {
            let tags: Vec<Tag> = (1..=count).map(|boot| tag(boot, boot.into())).collect();
            let token = token(&tags);
            let text = key(1).sign(&SESSION, &token);
            assert!(text.len() <= 128, "{}", text.len());
            assert_eq!(key(1).verify(&SESSION, &text), Some(token));
        }
    }

    #[test]
    fn forged_foreign_and_malformed_tokens_are_nothing() {
        let text = key(1).sign(&SESSION, &token(&[tag(1, 10), tag(2, 20)]));
        let other_session = SessionKey::from_bytes([8; 16]);
        assert_eq!(key(1).verify(&other_session, &text), None);
        assert_eq!(key(2).verify(&SESSION, &text), None);
        for at in 0..text.len() {
            let mut forged = text.clone().into_bytes();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            let forged = String::from_utf8(forged).expect("ASCII");
            assert_eq!(key(1).verify(&SESSION, &forged), None, "{forged}");
        }
        let empty = key(1).sign(&SESSION, &Token::default());
        let long = "A".repeat(132);
        for malformed in ["", "A", "ä", "!", &text[..47], &text[4..], &empty, &long] {
            assert_eq!(key(1).verify(&SESSION, malformed), None, "{malformed}");
        }
    }

    #[test]
    fn while_keys_are_changed_tokens_of_both_are_read() {
        let [old, new] = [1, 2].map(|byte| ClusterSecret::from_bytes([byte; 32]));
        let both = TokenKey::new(&[new, old]).expect("keys");
        let token = token(&[tag(1, 10)]);
        let text = both.sign(&SESSION, &token);
        assert_eq!(key(2).verify(&SESSION, &text), Some(token.clone()));
        let text = key(1).sign(&SESSION, &token);
        assert_eq!(both.verify(&SESSION, &text), Some(token));
        assert!(TokenKey::new(&[]).is_none());
    }

    #[test]
    fn bytes_of_a_token_are_those_of_its_first_version() {
        let text = key(1).sign(&SESSION, &token(&[tag(1, 10)]));
        assert_eq!(text, "AQEBAQEBAQEAAAAAAAAAAAAAAAoXKV1MsM9Zmxn129G33keN");
    }
}
