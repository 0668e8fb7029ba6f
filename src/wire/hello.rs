//! The first words on a link: who is there, and why not.
//!
//! The dialler sends a [`Hello`], the listener answers with a [`Greeting`], the dialler ends with a
//! [`Confirm`]. Each is [`MAGIC`] and a `postcard` value. This is the one part of the protocol that
//! nodes of all versions must understand, so its values only ever grow at the end: bytes behind
//! what this release knows are ignored.

#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use std::ops::RangeInclusive;

use bytes::{BufMut as _, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{config::is_name, session::BootId};

/// The protocol versions this release speaks.
pub(crate) const PROTOCOL: RangeInclusive<u16> = 1..=1;

/// What every hello begins with, and hardly anything else does.
const MAGIC: [u8; 4] = *b"TwCS";

/// Who is at one end of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) min_version: u16,
    pub(crate) max_version: u16,
    pub(crate) cluster: String,
    pub(crate) node: String,
    pub(crate) boot: BootId,
    /// The address to show for this node, if it was told one.
    pub(crate) advertise: Option<String>,
}

impl Hello {
    /// Appends the hello. It is within the limit of a stranger's frame when its names come from
    /// checked settings.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        encode(self, out);
    }

    /// # Errors
    ///
    /// [`Refusal::NotAHello`] for anything an honest node would not send.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        decode::<Self>(bytes)?.checked()
    }

    /// What the node that sends `self` makes of a peer that sends `theirs`: the version to speak.
    /// Both sides come to the same conclusion. Links that exist already are the caller's business.
    ///
    /// # Errors
    ///
    /// Why there can be no link.
    pub(crate) fn judge(&self, theirs: &Self) -> Result<u16, Refusal> {
        // First, because a node that meets itself differs in nothing else.
        if self.boot == theirs.boot {
            return Err(Refusal::SameBoot);
        }
        if self.cluster != theirs.cluster {
            return Err(Refusal::WrongCluster {
                here: self.cluster.clone(),
                there: theirs.cluster.clone(),
            });
        }
        if self.node == theirs.node {
            return Err(Refusal::DuplicateName {
                name: self.node.clone(),
            });
        }
        negotiate(self.versions(), theirs.versions())
    }

    fn versions(&self) -> RangeInclusive<u16> {
        self.min_version..=self.max_version
    }

    /// Names go into log lines, so they must be as harmless as the own ones.
    fn checked(self) -> Result<Self, Refusal> {
        let harmless = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        let honest = self.min_version <= self.max_version
            && is_name(&self.cluster)
            && is_name(&self.node)
            && self.advertise.as_deref().is_none_or(harmless);
        if honest {
            Ok(self)
        } else {
            Err(Refusal::NotAHello)
        }
    }
}

/// The listener's answer to a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Greeting {
    Welcome(Hello),
    Refused(Refusal),
}

impl Greeting {
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        encode(self, out);
    }

    /// # Errors
    ///
    /// [`Refusal::NotAHello`] for anything an honest node would not send.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        match decode(bytes)? {
            Self::Welcome(hello) => hello.checked().map(Self::Welcome),
            Self::Refused(refusal) => refusal.checked().map(Self::Refused),
        }
    }
}

/// The dialler's answer to [`Greeting::Welcome`]. With `Go` the link is established.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Confirm {
    Go,
    Refused(Refusal),
}

impl Confirm {
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        encode(self, out);
    }

    /// # Errors
    ///
    /// [`Refusal::NotAHello`] for anything an honest node would not send.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        match decode(bytes)? {
            Self::Go => Ok(Self::Go),
            Self::Refused(refusal) => refusal.checked().map(Self::Refused),
        }
    }
}

/// Why two nodes have no link. Each text reads well on both sides, because both log it; "here" is
/// the node that refuses. A new reason is only sent to a peer whose versions include it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "the nodes belong to different clusters, `{here}` and `{there}`; \
         correct the address, or give both nodes the same `cluster`"
    )]
    WrongCluster { here: String, there: String },
    #[error("two nodes are called `{name}`; give each node a name of its own")]
    DuplicateName { name: String },
    #[error("that is this node itself")]
    SameBoot,
    #[error(
        "the nodes have no protocol version in common, {} and {}; \
         upgrade the older one in smaller steps",
        versions(*.here),
        versions(*.there)
    )]
    Version { here: (u16, u16), there: (u16, u16) },
    #[error("another link between these two nodes stays")]
    Duplicate,
    #[error(
        "links without encryption are accepted from loopback and from listed addresses only; \
         list the dialling node as a `peer` on the listening one"
    )]
    NotListed,
    #[error(
        "what came is no hello of a cluster node; make sure that the address is that of a node, \
         not of its HTTP server, and that both nodes have the same `secret` or `tls`, or neither"
    )]
    NotAHello,
    #[error(
        "the dialler's certificate is for no host on the listener's list of peers; list it there \
         by a name in its certificate, or set `tls_name` to the name in all certificates"
    )]
    NotNamed,
}

impl Refusal {
    fn checked(self) -> Result<Self, Self> {
        let honest = match &self {
            Self::WrongCluster { here, there } => is_name(here) && is_name(there),
            Self::DuplicateName { name } => is_name(name),
            Self::SameBoot
            | Self::Version { .. }
            | Self::Duplicate
            | Self::NotListed
            | Self::NotAHello
            | Self::NotNamed => true,
        };
        if honest {
            Ok(self)
        } else {
            Err(Self::NotAHello)
        }
    }
}

/// The highest version in both ranges.
///
/// # Errors
///
/// [`Refusal::Version`] if there is none.
pub(crate) fn negotiate(
    ours: RangeInclusive<u16>,
    theirs: RangeInclusive<u16>,
) -> Result<u16, Refusal> {
    let (lowest, highest) = (
        *ours.start().max(theirs.start()),
        *ours.end().min(theirs.end()),
    );
    if lowest <= highest {
        Ok(highest)
    } else {
        Err(Refusal::Version {
            here: ours.into_inner(),
            there: theirs.into_inner(),
        })
    }
}

fn encode(value: &impl Serialize, out: &mut BytesMut) {
    out.put_slice(&MAGIC);
    let bytes = postcard::to_allocvec(value).expect("strings, numbers and options always encode");
    out.put_slice(&bytes);
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Refusal> {
    let value = bytes.strip_prefix(&MAGIC).ok_or(Refusal::NotAHello)?;
    match postcard::take_from_bytes(value) {
        Ok((value, _from_a_later_release)) => Ok(value),
        Err(_) => Err(Refusal::NotAHello),
    }
}

fn versions((lowest, highest): (u16, u16)) -> String {
    if lowest == highest {
        lowest.to_string()
    } else {
        format!("{lowest} to {highest}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello(node: &str, boot: u8) -> Hello {
        Hello {
            min_version: 1,
            max_version: 1,
            cluster: "sessions".to_owned(),
            node: node.to_owned(),
            boot: BootId::from_bytes([boot; 8]),
            advertise: None,
        }
    }

    fn encoded(value: &impl Serialize) -> BytesMut {
        let mut out = BytesMut::new();
        encode(value, &mut out);
        out
    }

    #[test]
    fn bytes_of_the_hello_stay_as_they_are() {
        let advertised = Hello {
            advertise: Some("h:1".to_owned()),
            ..hello("n1", 7)
        };
        let bytes = b"TwCS\x01\x01\x08sessions\x02n1\x07\x07\x07\x07\x07\x07\x07\x07\x01\x03h:1";
        let mut out = BytesMut::new();
        advertised.encode(&mut out);
        assert_eq!(&out[..], bytes);
        assert_eq!(Hello::decode(bytes), Ok(advertised));
    }

    #[test]
    fn bytes_of_the_answers_stay_as_they_are() {
        let mut welcome = b"TwCS\0\x01\x01\x08sessions\x02n2".to_vec();
        welcome.extend([9; 8]);
        welcome.push(0);
        for (greeting, bytes) in [
            (Greeting::Welcome(hello("n2", 9)), &welcome[..]),
            (
                Greeting::Refused(Refusal::WrongCluster {
                    here: "a".to_owned(),
                    there: "b".to_owned(),
                }),
                b"TwCS\x01\0\x01a\x01b",
            ),
            (
                Greeting::Refused(Refusal::DuplicateName {
                    name: "n".to_owned(),
                }),
                b"TwCS\x01\x01\x01n",
            ),
            (Greeting::Refused(Refusal::SameBoot), b"TwCS\x01\x02"),
            (
                Greeting::Refused(Refusal::Version {
                    here: (1, 1),
                    there: (2, 300),
                }),
                b"TwCS\x01\x03\x01\x01\x02\xac\x02",
            ),
            (Greeting::Refused(Refusal::Duplicate), b"TwCS\x01\x04"),
            (Greeting::Refused(Refusal::NotListed), b"TwCS\x01\x05"),
            (Greeting::Refused(Refusal::NotAHello), b"TwCS\x01\x06"),
            (Greeting::Refused(Refusal::NotNamed), b"TwCS\x01\x07"),
        ] {
            assert_eq!(&encoded(&greeting)[..], bytes, "{greeting:?}");
            assert_eq!(Greeting::decode(bytes), Ok(greeting));
        }
        assert_eq!(&encoded(&Confirm::Go)[..], b"TwCS\0");
        let refused = Confirm::Refused(Refusal::Duplicate);
        assert_eq!(&encoded(&refused)[..], b"TwCS\x01\x04");
        assert_eq!(Confirm::decode(b"TwCS\x01\x04"), Ok(refused));
        assert_eq!(Confirm::decode(b"TwCS\0"), Ok(Confirm::Go));
    }

    #[test]
    fn the_longest_hello_fits_a_strangers_frame() {
        let longest = Hello {
            min_version: u16::MAX,
            max_version: u16::MAX,
            cluster: "c".repeat(64),
            node: "n".repeat(64),
            advertise: Some(format!("{}:65535", "a".repeat(253))),
            ..hello("", 0xFF)
        };
        assert!(encoded(&Greeting::Welcome(longest)).len() <= 1024);
    }

    #[test]
    fn what_a_later_release_appends_is_ignored() {
        let mut bytes = encoded(&hello("n1", 7));
        bytes.extend_from_slice(b"later");
        assert_eq!(Hello::decode(&bytes), Ok(hello("n1", 7)));
    }

    #[test]
    fn the_magic_is_checked_first() {
        let mut bytes = encoded(&hello("n1", 7));
        bytes[0] ^= 1;
        for bytes in [
            &bytes[..],
            b"",
            b"TwC",
            b"GET / HTTP/1.1\r\n",
            b"\x16\x03\x01",
        ] {
            assert_eq!(Hello::decode(bytes), Err(Refusal::NotAHello));
            assert_eq!(Greeting::decode(bytes), Err(Refusal::NotAHello));
            assert_eq!(Confirm::decode(bytes), Err(Refusal::NotAHello));
        }
    }

    #[test]
    fn names_that_would_spoil_a_log_line_are_no_hello() {
        let bad = |change: fn(&mut Hello)| {
            let mut hello = hello("n1", 7);
            change(&mut hello);
            assert_eq!(Hello::decode(&encoded(&hello)), Err(Refusal::NotAHello));
            let welcome = encoded(&Greeting::Welcome(hello));
            assert_eq!(Greeting::decode(&welcome), Err(Refusal::NotAHello));
        };
        bad(|hello| hello.node = "n\n1".to_owned());
        bad(|hello| hello.node = String::new());
        bad(|hello| hello.cluster = "c".repeat(65));
        bad(|hello| hello.advertise = Some("\x1b[2J".to_owned()));
        bad(|hello| hello.min_version = 2);
        let name = "n\n1".to_owned();
        let refused = encoded(&Greeting::Refused(Refusal::DuplicateName { name }));
        assert_eq!(Greeting::decode(&refused), Err(Refusal::NotAHello));
    }

    #[test]
    fn highest_common_version_is_spoken() {
        assert_eq!(negotiate(1..=3, 2..=5), Ok(3));
        assert_eq!(negotiate(2..=5, 1..=3), Ok(3));
        assert_eq!(negotiate(1..=1, 1..=9), Ok(1));
        assert_eq!(
            negotiate(1..=2, 3..=4),
            Err(Refusal::Version {
                here: (1, 2),
                there: (3, 4)
            })
        );
        assert!(!PROTOCOL.is_empty());
    }

    #[test]
    fn strangers_are_told_apart() {
        let ours = hello("n1", 1);
        assert_eq!(ours.judge(&hello("n2", 2)), Ok(1));
        assert_eq!(ours.judge(&ours), Err(Refusal::SameBoot));
        let name = "n1".to_owned();
        assert_eq!(
            ours.judge(&hello("n1", 2)),
            Err(Refusal::DuplicateName { name })
        );
        let other = Hello {
            cluster: "staging".to_owned(),
            ..hello("n2", 2)
        };
        assert!(matches!(
            ours.judge(&other),
            Err(Refusal::WrongCluster { .. })
        ));
        let newer = Hello {
            min_version: 2,
            max_version: 3,
            ..hello("n2", 2)
        };
        assert!(matches!(ours.judge(&newer), Err(Refusal::Version { .. })));
    }

    #[test]
    fn refusals_name_the_fix() {
        let wrong = Refusal::WrongCluster {
            here: "shop".to_owned(),
            there: "staging".to_owned(),
        };
        let version = Refusal::Version {
            here: (1, 1),
            there: (2, 3),
        };
        for (refusal, words) in [
            (wrong, &["`shop`", "`staging`", "same `cluster`"][..]),
            (
                Refusal::DuplicateName {
                    name: "n1".to_owned(),
                },
                &["`n1`", "a name of its own"],
            ),
            (version, &["1 and 2 to 3", "upgrade"]),
            (Refusal::NotListed, &["`peer`"]),
            (Refusal::NotNamed, &["list of peers", "`tls_name`"]),
            (Refusal::NotAHello, &["HTTP server"]),
        ] {
            let text = refusal.to_string();
            assert!(words.iter().all(|word| text.contains(word)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_no_hello_and_no_panic(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend(garbage);
            // Valid bytes may come up by chance; then they must be harmless.
            if let Ok(hello) = Hello::decode(&bytes) {
                prop_assert!(is_name(&hello.node) && is_name(&hello.cluster));
            }
            if let Ok(Greeting::Refused(refusal)) = Greeting::decode(&bytes) {
                prop_assert!(!refusal.to_string().contains(char::is_control));
            }
            if let Ok(Confirm::Refused(refusal)) = Confirm::decode(&bytes) {
                prop_assert!(!refusal.to_string().contains(char::is_control));
            }
        }
    }
}
