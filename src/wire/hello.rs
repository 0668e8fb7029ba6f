//! The first words on a link: who is there, and why not.
//!
//! The dialler sends a [`Hello`], the listener answers with a [`Greeting`], the dialler ends with a
//! [`Confirm`]. Each begins with [`MAGIC`]. This is the one part of the protocol that nodes of all
//! versions must understand, so its values only ever grow at the end: bytes behind what this
//! release knows are ignored.

#![cfg_attr(
    not(feature = "__internals"),
    expect(unreachable_pub, reason = "`internals` shows it to the fuzzer")
)]
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

use std::ops::RangeInclusive;

use super::{
    bytes::{Reader, UNKNOWN, Writer},
    error::Malformed,
};
use crate::{config::is_name, session::BootId};

/// The protocol versions this release speaks.
pub(crate) const PROTOCOL: RangeInclusive<u16> = 1..=1;

/// What every hello begins with, and hardly anything else does.
const MAGIC: [u8; 4] = *b"TwCS";

/// The words of one end of a link: who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hello {
    pub(crate) min_version: u16,
    pub(crate) max_version: u16,
    /// The cluster's name.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    pub(crate) boot: BootId,
    /// The address to show for this node, if it was told one.
    pub advertise: Option<String>,
    /// Whether it wants to be told of other members.
    pub(crate) exchanges_peers: bool,
}

impl Hello {
    /// Appends the hello. It is within the limit of an unauthenticated peer's frame when its names
    /// come from checked settings.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.write(&mut begin(out));
    }

    /// Reads what [`encode`](Self::encode) appends.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotAHello`] for anything an honest node would not send.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        decode(bytes, Self::read)
    }

    /// Judges, for the node that sends `self`, a peer that sends `theirs`, and returns the version
    /// to speak. Both sides come to the same conclusion. Links that exist already are the caller's
    /// business.
    ///
    /// # Errors
    ///
    /// Why there can be no link.
    pub fn judge(&self, theirs: &Self) -> Result<u16, Refusal> {
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

    fn write(&self, to: &mut Writer<'_>) {
        to.u64(self.min_version.into());
        to.u64(self.max_version.into());
        to.text(&self.cluster);
        to.text(&self.node);
        to.array(&self.boot.bytes());
        to.option(self.advertise.as_deref(), Writer::text);
        if self.exchanges_peers {
            to.byte(EXCHANGES_PEERS);
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let hello = Self {
            min_version: from.u16()?,
            max_version: from.u16()?,
            cluster: read_name(from)?,
            node: read_name(from)?,
            boot: BootId::from_bytes(from.array()?),
            advertise: from.option(Reader::text)?.map(str::to_owned),
            // Who does not know of it says nothing.
            exchanges_peers: from.remaining().first() == Some(&EXCHANGES_PEERS),
        };
        let is_harmless = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if hello.min_version <= hello.max_version
            && hello.advertise.as_deref().is_none_or(is_harmless)
        {
            Ok(hello)
        } else {
            Err(Malformed("a hello that no node says"))
        }
    }
}

/// The listener's answer to a [`Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Greeting {
    /// The listener takes the link, and this is who it is.
    Welcome(Hello),
    /// It does not.
    Refused(Refusal),
}

impl Greeting {
    /// Appends the answer.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let to = &mut begin(out);
        match self {
            Self::Welcome(hello) => {
                to.byte(CONSENT);
                hello.write(to);
            }
            Self::Refused(refusal) => {
                to.byte(REFUSED);
                refusal.write(to);
            }
        }
    }

    /// Reads what [`encode`](Self::encode) appends.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotAHello`] for anything an honest node would not send.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        decode(bytes, |from| match from.byte()? {
            CONSENT => Hello::read(from).map(Self::Welcome),
            REFUSED => Refusal::read(from).map(Self::Refused),
            _ => Err(UNKNOWN),
        })
    }
}

/// The dialler's answer to [`Greeting::Welcome`]. With `Go` the link is established.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Confirm {
    /// The dialler takes the link, too.
    Go,
    /// It does not.
    Refused(Refusal),
}

impl Confirm {
    /// Appends the answer.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let to = &mut begin(out);
        match self {
            Self::Go => to.byte(CONSENT),
            Self::Refused(refusal) => {
                to.byte(REFUSED);
                refusal.write(to);
            }
        }
    }

    /// Reads what [`encode`](Self::encode) appends.
    ///
    /// # Errors
    ///
    /// [`Refusal::NotAHello`] for anything an honest node would not send.
    pub fn decode(bytes: &[u8]) -> Result<Self, Refusal> {
        decode(bytes, |from| match from.byte()? {
            CONSENT => Ok(Self::Go),
            REFUSED => Refusal::read(from).map(Self::Refused),
            _ => Err(UNKNOWN),
        })
    }
}

/// The reason why two nodes have no link. Each text reads well on both sides, because both log it;
/// "here" is the node that refuses. A new reason is only sent to a peer whose versions include it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The names of the clusters differ.
    #[error(
        "the nodes belong to different clusters, `{here}` and `{there}`; \
         correct the address, or give both nodes the same `cluster`"
    )]
    WrongCluster {
        /// The name on the node that refuses.
        here: String,
        /// The name on its peer.
        there: String,
    },
    /// Two nodes that meet have the same name.
    #[error("two nodes are called `{name}`; give each node a name of its own")]
    DuplicateName {
        /// The name of both.
        name: String,
    },
    /// A node has dialled itself.
    #[error("that is this node itself")]
    SameBoot,
    /// The ranges of versions do not meet.
    #[error(
        "the nodes have no protocol version in common, {} and {}; \
         upgrade the older one in smaller steps",
        versions(*.here),
        versions(*.there)
    )]
    Version {
        /// The lowest and the highest on the node that refuses.
        here: (u16, u16),
        /// Those of its peer.
        there: (u16, u16),
    },
    /// Both dialled, and the other link stays.
    #[error("another link between these two nodes stays")]
    Duplicate,
    /// Nothing protects the link, and nobody has listed the dialler.
    #[error(
        "links without encryption are accepted from loopback and from listed addresses only; \
         list the dialling node as a `peer` on the listening one"
    )]
    NotListed,
    /// What came is anything but a hello.
    #[error(
        "what came is no hello of a cluster node; make sure that the address is that of a node, \
         not of its HTTP server, and that both nodes have the same `secret` or `tls`, or neither"
    )]
    NotAHello,
    /// The dialler's certificate is for nobody whom the listener expects.
    #[error(
        "the dialler's certificate is for no host on the listener's list of peers; list it there \
         by a name in its certificate, or set `tls_name` to the name in all certificates"
    )]
    NotNamed,
    /// A live node of the cluster that is linked already has the peer's name.
    #[error("another node called `{name}` is linked; give each node a name of its own")]
    NameTaken {
        /// The name of both.
        name: String,
    },
}

impl Refusal {
    fn write(&self, to: &mut Writer<'_>) {
        match self {
            Self::WrongCluster { here, there } => {
                to.byte(0);
                to.text(here);
                to.text(there);
            }
            Self::DuplicateName { name } => {
                to.byte(1);
                to.text(name);
            }
            Self::SameBoot => to.byte(2),
            Self::Version { here, there } => {
                to.byte(3);
                for version in [here.0, here.1, there.0, there.1] {
                    to.u64(version.into());
                }
            }
            Self::Duplicate => to.byte(4),
            Self::NotListed => to.byte(5),
            Self::NotAHello => to.byte(6),
            Self::NotNamed => to.byte(7),
            Self::NameTaken { name } => {
                to.byte(8);
                to.text(name);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match from.byte()? {
            0 => Self::WrongCluster {
                here: read_name(from)?,
                there: read_name(from)?,
            },
            1 => Self::DuplicateName {
                name: read_name(from)?,
            },
            2 => Self::SameBoot,
            3 => Self::Version {
                here: (from.u16()?, from.u16()?),
                there: (from.u16()?, from.u16()?),
            },
            4 => Self::Duplicate,
            5 => Self::NotListed,
            6 => Self::NotAHello,
            7 => Self::NotNamed,
            8 => Self::NameTaken {
                name: read_name(from)?,
            },
            _ => return Err(UNKNOWN),
        })
    }
}

/// Returns the highest version in both ranges.
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

fn begin(out: &mut Vec<u8>) -> Writer<'_> {
    let mut to = Writer(out);
    to.array(&MAGIC);
    to
}

/// Reads what is behind the magic, and leaves what a later release has appended.
fn decode<'a, T>(
    bytes: &'a [u8],
    read: impl FnOnce(&mut Reader<'a>) -> Result<T, Malformed>,
) -> Result<T, Refusal> {
    let value = bytes.strip_prefix(&MAGIC).ok_or(Refusal::NotAHello)?;
    read(&mut Reader::new(value)).map_err(|_| Refusal::NotAHello)
}

/// Reads a name. It is shown to people, so it must be as harmless as the own ones.
fn read_name(from: &mut Reader<'_>) -> Result<String, Malformed> {
    let name = from.text()?;
    if is_name(name) {
        Ok(name.to_owned())
    } else {
        Err(Malformed("no name"))
    }
}

fn versions((lowest, highest): (u16, u16)) -> String {
    if lowest == highest {
        lowest.to_string()
    } else {
        format!("{lowest} to {highest}")
    }
}

/// What a [`Greeting`] or a [`Confirm`] says first.
const CONSENT: u8 = 0;
const REFUSED: u8 = 1;

/// Stands behind a hello that wants to be told of other members.
const EXCHANGES_PEERS: u8 = 1;

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
            exchanges_peers: false,
        }
    }

    fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        encode(&mut out);
        out
    }

    #[test]
    fn bytes_of_the_hello_stay_as_they_are() {
        let advertised = Hello {
            advertise: Some("h:1".to_owned()),
            ..hello("n1", 7)
        };
        let bytes = b"TwCS\x01\x01\x08sessions\x02n1\x07\x07\x07\x07\x07\x07\x07\x07\x01\x03h:1";
        assert_eq!(encoded(|out| advertised.encode(out)), bytes);
        assert_eq!(Hello::decode(bytes), Ok(advertised.clone()));
        let exchanging = Hello {
            exchanges_peers: true,
            ..advertised
        };
        let bytes = [&bytes[..], &[1]].concat();
        assert_eq!(encoded(|out| exchanging.encode(out)), bytes);
        assert_eq!(Hello::decode(&bytes), Ok(exchanging));
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
            (
                Greeting::Refused(Refusal::NameTaken {
                    name: "n".to_owned(),
                }),
                b"TwCS\x01\x08\x01n",
            ),
        ] {
            assert_eq!(encoded(|out| greeting.encode(out)), bytes, "{greeting:?}");
            assert_eq!(Greeting::decode(bytes), Ok(greeting));
        }
        assert_eq!(encoded(|out| Confirm::Go.encode(out)), b"TwCS\0");
        let refused = Confirm::Refused(Refusal::Duplicate);
        assert_eq!(encoded(|out| refused.encode(out)), b"TwCS\x01\x04");
        assert_eq!(Confirm::decode(b"TwCS\x01\x04"), Ok(refused));
        assert_eq!(Confirm::decode(b"TwCS\0"), Ok(Confirm::Go));
    }

    #[test]
    fn the_longest_hello_fits_a_frame_before_authentication() {
        let longest = Hello {
            min_version: u16::MAX,
            max_version: u16::MAX,
            cluster: "c".repeat(64),
            node: "n".repeat(64),
            advertise: Some(format!("{}:65535", "a".repeat(253))),
            exchanges_peers: true,
            ..hello("", 0xFF)
        };
        assert!(encoded(|out| Greeting::Welcome(longest).encode(out)).len() <= 1024);
    }

    #[test]
    fn what_a_later_release_appends_is_ignored() {
        let mut bytes = encoded(|out| hello("n1", 7).encode(out));
        bytes.extend_from_slice(b"later");
        assert_eq!(Hello::decode(&bytes), Ok(hello("n1", 7)));
    }

    #[test]
    fn the_magic_is_checked_first() {
        let mut bytes = encoded(|out| hello("n1", 7).encode(out));
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
            let bytes = encoded(|out| hello.encode(out));
            assert_eq!(Hello::decode(&bytes), Err(Refusal::NotAHello));
            let welcome = encoded(|out| Greeting::Welcome(hello).encode(out));
            assert_eq!(Greeting::decode(&welcome), Err(Refusal::NotAHello));
        };
        bad(|hello| hello.node = "n\n1".to_owned());
        bad(|hello| hello.node = String::new());
        bad(|hello| hello.node = "<script>".to_owned());
        bad(|hello| hello.cluster = "c".repeat(65));
        bad(|hello| hello.advertise = Some("\x1b[2J".to_owned()));
        bad(|hello| hello.min_version = 2);
        let name = "n\n1".to_owned();
        let refused = Greeting::Refused(Refusal::DuplicateName { name });
        let refused = encoded(|out| refused.encode(out));
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
    fn unauthenticated_peers_are_told_apart() {
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
            (
                Refusal::NameTaken {
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
