//! The sealer: it makes values that only the app's keys make, and with the private kind only they
//! read, by the jars of the `cookie` crate.
//!
//! What is sealed is always as long as [`CookieValue::LENGTH`], so all sealed values of a kind are
//! of one length. Any other length is refused before a key is tried.
//!
//! The jars write the base64 of RFC 4648's section 4. A `=`, `+` or `/` has some clients put quotes
//! around the value, so it is sent in the URL-safe alphabet and without padding. The form of the
//! jars is still opened, and counts as outdated.

use cookie::{Cookie, CookieJar};

use super::{
    Opened,
    keys::{CookieKey, CookieKeys},
};
use crate::session::CookieValue;

/// Keys and what to do with them.
#[derive(Clone, Debug)]
pub(crate) struct Sealer {
    kind: SealKind,
    keys: CookieKeys,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SealKind {
    #[cfg(feature = "signed")]
    Signed,
    #[cfg(feature = "private")]
    Private,
}

impl Sealer {
    #[cfg(feature = "signed")]
    pub(crate) const fn signed(keys: CookieKeys) -> Self {
        let kind = SealKind::Signed;
        Self { kind, keys }
    }

    #[cfg(feature = "private")]
    pub(crate) const fn private(keys: CookieKeys) -> Self {
        let kind = SealKind::Private;
        Self { kind, keys }
    }

    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.kind == other.kind
    }

    /// Returns whether there is a key, to be asked before anything is sealed.
    pub(crate) fn has_key(&self) -> bool {
        !self.keys.as_slice().is_empty()
    }

    /// Returns the first key's seal on a value of this name.
    pub(crate) fn seal(&self, name: &str, plain: String) -> String {
        let key = self.keys.as_slice().first().expect("`has_key` was asked");
        let plain = Cookie::new(name.to_owned(), plain);
        let mut jar = CookieJar::new();
        match self.kind {
            #[cfg(feature = "signed")]
            SealKind::Signed => jar.signed_mut(key).add(plain),
            #[cfg(feature = "private")]
            SealKind::Private => jar.private_mut(key).add(plain),
        }
        let sealed = jar.get(name).expect("it was added under this name");
        url_safe(sealed.value())
    }

    /// Returns what was sealed. A private value is that of one name alone.
    pub(crate) fn open(&self, name: &str, sealed: &str) -> Option<Opened> {
        let (sealed, is_old_form) = match sealed.len().checked_sub(self.kind.sealed_length())? {
            0 => (self.kind.padded(sealed)?, false),
            PADDING => (sealed.to_owned(), true),
            _ => return None,
        };
        let sealed = Cookie::new(name.to_owned(), sealed);
        let mut keys = self.keys.as_slice().iter().enumerate();
        keys.find_map(|(at, key)| {
            let opened = self.kind.open(key, sealed.clone())?;
            Some(Opened {
                plain: opened.value().to_owned(),
                is_outdated: at > 0 || is_old_form,
            })
        })
    }
}

impl SealKind {
    fn open(self, key: &CookieKey, sealed: Cookie<'static>) -> Option<Cookie<'static>> {
        let jar = CookieJar::new();
        match self {
            #[cfg(feature = "signed")]
            Self::Signed => jar.signed(key).verify(sealed),
            #[cfg(feature = "private")]
            Self::Private => jar.private(key).decrypt(sealed),
        }
    }

    /// Returns the length in characters, of which a seal has only ASCII ones.
    const fn sealed_length(self) -> usize {
        match self {
            // An HMAC-SHA-256 in base64, and the value as it is.
            #[cfg(feature = "signed")]
            Self::Signed => Self::SIGNATURE + CookieValue::LENGTH,
            // A nonce, the value encrypted, and the tag of AES-GCM, all in base64.
            #[cfg(feature = "private")]
            Self::Private => base64_length(12 + CookieValue::LENGTH + 16),
        }
    }

    /// Returns the value as the jars write it. `None` when it has what the URL-safe alphabet has
    /// not: each seal has one form.
    fn padded(self, sealed: &str) -> Option<String> {
        let base64 = match self {
            #[cfg(feature = "signed")]
            Self::Signed => Self::SIGNATURE,
            #[cfg(feature = "private")]
            Self::Private => sealed.len(),
        };
        let (base64, plain) = sealed.split_at_checked(base64)?;
        if base64.contains(['+', '/', '=']) {
            return None;
        }
        let base64 = base64.replace('-', "+").replace('_', "/");
        Some(format!("{base64}={plain}"))
    }

    #[cfg(feature = "signed")]
    const SIGNATURE: usize = base64_length(32);
}

/// Returns a value of the jars as it is sent. The value that is signed has the URL-safe alphabet
/// already.
fn url_safe(sealed: &str) -> String {
    sealed.replace('+', "-").replace('/', "_").replace('=', "")
}

/// Returns the length of so many bytes in base64 without padding.
const fn base64_length(bytes: usize) -> usize {
    (bytes * 4).div_ceil(3)
}

/// The `=` that the jars put behind base64: one, for a signature and for an encrypted value.
const PADDING: usize = 1;

#[cfg(all(test, feature = "signed", feature = "private"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PLAIN: &str = "paWlpaWlpaWlpaWlpaWlpVpaWlpaWlpaWlpaWlpaWlo";
    const NAME: &str = "__Host-id";
    /// By another implementation: the HMAC of the value, and AES-256-GCM with the cookie's name.
    const SIGNED: &str =
        "rAZW1XJECJ9-QSpz1x8Vc44FpzxX4w0cM1rvaP6JD90paWlpaWlpaWlpaWlpaWlpVpaWlpaWlpaWlpaWlpaWlo";
    const PRIVATE: &str = "AAECAwQFBgcICQoLaOC-HG1ojiUH07Lwkjk7lpFd4eJoNAdQQaIT29m7HWSJAzaDwKNBnKOJrAx\
                           -QF-vK5K3DfnAvNN9ROU";
    const OLD_SIGNED: &str =
        "rAZW1XJECJ9+QSpz1x8Vc44FpzxX4w0cM1rvaP6JD90=paWlpaWlpaWlpaWlpaWlpVpaWlpaWlpaWlpaWlpaWlo";
    const OLD_PRIVATE: &str = "AAECAwQFBgcICQoLaOC+HG1ojiUH07Lwkjk7lpFd4eJoNAdQQaIT29m7HWSJAzaDwKNBnKOJ\
                               rAx+QF+vK5K3DfnAvNN9ROU=";

    #[test]
    fn seals_that_others_made_with_the_key_stay_good() {
        for (sealer, sealed) in [(signed([7]), SIGNED), (private([7]), PRIVATE)] {
            assert_eq!(sealer.open(NAME, sealed), opened(PLAIN, false), "{sealed}");
        }
        assert_eq!(signed([7]).seal(NAME, PLAIN.to_owned()), SIGNED);
    }

    #[test]
    fn seals_need_no_quotes_and_those_of_old_are_opened_and_replaced() {
        for (sealer, old) in [(signed([7]), OLD_SIGNED), (private([7]), OLD_PRIVATE)] {
            assert_eq!(sealer.open(NAME, old), opened(PLAIN, true), "{old}");
            let sealed = sealer.seal(NAME, PLAIN.to_owned());
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
            assert!(sealed.bytes().all(is_plain), "{sealed}");
        }
    }

    #[test]
    fn the_first_key_seals_and_all_open() {
        for (new, old) in [
            (signed([1, 2]), signed([2])),
            (private([1, 2]), private([2])),
        ] {
            let sealed = old.seal(NAME, PLAIN.to_owned());
            assert_eq!(new.open(NAME, &sealed), opened(PLAIN, true));
            let sealed = new.seal(NAME, PLAIN.to_owned());
            assert_eq!(new.open(NAME, &sealed), opened(PLAIN, false));
            assert_eq!(old.open(NAME, &sealed), None);
        }
    }

    #[test]
    fn what_is_of_another_length_is_not_even_tried() {
        for sealer in [signed([1]), private([1])] {
            for plain in [&PLAIN[3..], &format!("{PLAIN}AAA"), ""] {
                let sealed = sealer.seal(NAME, plain.to_owned());
                assert_eq!(sealer.open(NAME, &sealed), None, "{sealed}");
                if let Some(padded) = sealer.kind.padded(&sealed) {
                    let opened = sealer.kind.open(&key(1), Cookie::new(NAME, padded));
                    assert!(opened.is_none_or(|opened| opened.value() == plain));
                }
            }
        }
    }

    #[test]
    fn a_change_of_any_character_breaks_the_seal() {
        for sealer in [signed([1]), private([1])] {
            let sealed = sealer.seal(NAME, PLAIN.to_owned());
            for at in 0..sealed.len() {
                for other in ['A', 'B', '=', '-', '+', '_', '/', '.'] {
                    let mut forged = sealed.clone();
                    forged.replace_range(at..=at, other.encode_utf8(&mut [0; 4]));
                    assert!(forged == sealed || sealer.open(NAME, &forged).is_none());
                }
            }
        }
    }

    #[test]
    fn keys_do_not_show() {
        let shown = format!("{:?} {:?}", signed([65]), private([65, 66]));
        let expected = "Sealer { kind: Signed, keys: CookieKeys(1) } \
                        Sealer { kind: Private, keys: CookieKeys(2) }";
        assert_eq!(shown, expected);
    }

    proptest! {
        #[test]
        fn no_text_opens_without_the_key(text in "[A-Za-z0-9+/=_.é€-]{0,96}") {
            for sealer in [signed([1]), private([1])] {
                // Characters of several bytes may lie across where the signature ends.
                let text = of_bytes(text.clone(), sealer.kind.sealed_length());
                prop_assert_eq!(sealer.open(NAME, &text), None);
            }
        }
    }

    fn opened(plain: &str, is_outdated: bool) -> Option<Opened> {
        let plain = plain.to_owned();
        Some(Opened { plain, is_outdated })
    }

    fn of_bytes(mut text: String, length: usize) -> String {
        while text.len() > length {
            text.pop();
        }
        while text.len() < length {
            text.push('A');
        }
        text
    }

    fn signed<const COUNT: usize>(keys: [u8; COUNT]) -> Sealer {
        Sealer::signed(keys.map(key).into())
    }

    fn private<const COUNT: usize>(keys: [u8; COUNT]) -> Sealer {
        Sealer::private(keys.map(key).into())
    }

    /// Its signing and its encrypting half are of this byte.
    fn key(byte: u8) -> CookieKey {
        CookieKey::from(&[byte; 64])
    }
}
