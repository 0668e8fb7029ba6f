//! The writes of a client that the copy held here lacks.

use super::Store;
use crate::session::{SessionKey, Stamp, Tag, Token};

/// The answer to whether a copy holds the writes that a client knows of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    /// Nothing; or the session was destroyed, and there is nothing to wait for.
    Nothing,
    Writes(Token),
    /// The session is not held here.
    Session,
}

impl Store {
    /// Returns what the copy lacks of the writes that a client knows of.
    pub(crate) fn missing(&self, key: &SessionKey, token: &Token) -> Missing {
        let shard = self.shard(key);
        if shard.tombstone(key).is_some() {
            return Missing::Nothing;
        }
        let Some(hot) = shard.view(key) else {
            return Missing::Session;
        };
        let mut missing = Token::default();
        let is_missing = |tag: &&Tag| !hot.state.covers(**tag);
        for tag in token.tags().iter().filter(is_missing) {
            missing.add(*tag);
        }
        if missing.tags().is_empty() {
            Missing::Nothing
        } else {
            Missing::Writes(missing)
        }
    }

    /// Returns this node's last write of a session that has gone to its log.
    pub(crate) fn last_logged(&self, key: &SessionKey) -> Option<Tag> {
        let shard = self.shard(key);
        let hot = shard.view(key)?;
        (hot.logged > Stamp::ZERO).then_some(Tag {
            stamp: hot.logged,
            origin: hot.own,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Expiry, Limits, Shape},
        replica::{Observer, Replica},
        session::{
            BootId, Item, KEPT_ORIGINS, Origin, SessionState,
            fixtures::{NOW, boot, key, meta, origin, secret},
        },
    };

    const KEY: SessionKey = key(1);
    const DAY_MS: u64 = 24 * 60 * 60 * 1000;

    fn empty() -> Replica {
        Replica::new(boot(1), Limits::default(), &Shape::default(), NOW)
    }

    fn replica() -> Replica {
        let replica = empty();
        let created = replica.create(meta(Expiry::default()), KEY, secret(2).hash(), 0, NOW);
        created.expect("room");
        replica
    }

    /// Returns a token with one write of another node.
    fn foreign(wall_ms: u64) -> Token {
        let origin = origin(9);
        let stamp = Stamp::new(wall_ms << 16).expect("small");
        let mut token = Token::default();
        token.add(Tag { stamp, origin });
        token
    }

    #[test]
    fn writes_of_another_node_are_missing_until_their_origin_is_forgotten() {
        let replica = empty();
        let stamp = Stamp::ZERO.next(NOW).expect("far from the end");
        let tag = |number: usize| Tag {
            stamp,
            origin: Origin {
                boot: BootId::from_bytes(number.to_le_bytes()),
                epoch: 1,
            },
        };
        // Origins are forgotten once there are many.
        let mut state = SessionState::new(meta(Expiry::default()), secret(2).hash(), tag(0), NOW);
        for number in 1..=KEPT_ORIGINS {
            state.set("a", b"1".as_slice().into(), tag(number));
        }
        let taken = replica.store.apply(
            &KEY,
            Item::Full(Box::new(state)),
            NOW,
            &mut Observer::new(false),
        );
        taken.expect("within the limits");
        let recent = foreign(NOW.wall_ms - DAY_MS / 2);
        assert_eq!(replica.missing(&KEY, &recent), Missing::Writes(recent));
        assert_eq!(replica.missing(&KEY, &foreign(DAY_MS)), Missing::Nothing);
    }

    #[test]
    fn own_writes_count_once_they_are_logged() {
        let replica = replica();
        assert_eq!(replica.last_logged(&KEY), None);
        replica.commit(&KEY, NOW);
        let mut token = Token::default();
        token.add(replica.last_logged(&KEY).expect("logged"));
        assert_eq!(replica.missing(&KEY, &token), Missing::Nothing);
    }

    #[test]
    fn nothing_is_missing_of_a_destroyed_session() {
        let replica = replica();
        let token = foreign(NOW.wall_ms);
        replica.store.meet_peer();
        replica.destroy(&KEY, NOW).expect("there");
        assert_eq!(replica.missing(&KEY, &token), Missing::Nothing);
        assert_eq!(replica.missing(&key(3), &token), Missing::Session);
    }
}
