//! Keys as users write them: 32 random bytes as hex or base64.

use std::fmt;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use hkdf::Hkdf;
use serde::Deserialize;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::error::ConfigErrorKind;

/// A key as configured, not yet checked.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct KeyText(pub(super) Zeroizing<String>);

impl KeyText {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Reads the key. Space around it is ignored, as a file that a key was written to ends in a
    /// line feed.
    pub(super) fn parse(&self) -> Result<ClusterSecret, KeyProblem> {
        ClusterSecret::from_text(self.0.trim())
    }
}

impl fmt::Debug for KeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyText(_)")
    }
}

/// A checked key, such as the secret that all nodes share.
///
/// Its memory is wiped when it is dropped. It stays where it is until then: what moves is a
/// pointer.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ClusterSecret(Box<Zeroizing<[u8; Self::LENGTH]>>);

impl ClusterSecret {
    pub(crate) const LENGTH: usize = 32;

    pub(super) fn from_text(text: &str) -> Result<Self, KeyProblem> {
        let bytes = from_hex(text).or_else(|| from_base64(text));
        let bytes = bytes.filter(|bytes| bytes.len() == Self::LENGTH);
        let bytes = bytes.ok_or(KeyProblem::Form)?;
        let mut key = Self::empty();
        key.0.copy_from_slice(&bytes);
        if is_guessable(&key.0) || is_words(text) {
            return Err(KeyProblem::Guessable);
        }
        Ok(key)
    }

    /// Returns a key for one purpose in one cluster: HKDF with SHA-256 (RFC 5869).
    ///
    /// Neither this key nor that for another purpose can be told from it.
    pub(crate) fn derive(&self, purpose: &str, cluster: &str) -> Self {
        let mut derived = Self::empty();
        Hkdf::<Sha256>::new(Some(SALT), self.bytes())
            .expand_multi_info(
                &[purpose.as_bytes(), b"\0", cluster.as_bytes()],
                derived.0.as_mut_slice(),
            )
            .expect("it gives up to 255 blocks of 32 bytes");
        derived
    }

    #[cfg(any(test, feature = "__internals"))]
    pub(crate) fn from_bytes(bytes: [u8; Self::LENGTH]) -> Self {
        Self(Box::new(Zeroizing::new(bytes)))
    }

    pub(crate) fn bytes(&self) -> &[u8; Self::LENGTH] {
        &self.0
    }

    fn empty() -> Self {
        Self(Box::default())
    }
}

impl fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterSecret(_)")
    }
}

/// The reason why a key cannot be used. It does not show the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeyProblem {
    /// It is not 32 bytes as hex or base64.
    Form,
    /// It is 32 bytes, but such that nobody drew at random.
    Guessable,
}

impl KeyProblem {
    pub(super) const fn kind(self) -> ConfigErrorKind {
        match self {
            Self::Form => ConfigErrorKind::Invalid,
            Self::Guessable => ConfigErrorKind::Insecure,
        }
    }
}

impl fmt::Display for KeyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "is not 32 bytes as 64 hex digits or as base64",
            Self::Guessable => "can be guessed: it is text, a series or a repetition",
        })
    }
}

fn from_hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    if pairs.len() != ClusterSecret::LENGTH {
        return None;
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(ClusterSecret::LENGTH));
    for [high, low] in pairs {
        bytes.push(digit(*high)? << 4 | digit(*low)?);
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16)?.try_into().ok()
}

/// Reads base64 of either alphabet, padded or not.
fn from_base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let lenient =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [&alphabet::STANDARD, &alphabet::URL_SAFE]
        .into_iter()
        .find_map(|alphabet| GeneralPurpose::new(alphabet, lenient).decode(text).ok())
        .map(Zeroizing::new)
}

/// Returns whether the bytes look as no random ones do.
///
/// That refuses less than one random key in a million million.
fn is_guessable(bytes: &[u8; ClusterSecret::LENGTH]) -> bool {
    let mut distinct = Zeroizing::new(bytes.to_vec());
    distinct.sort_unstable();
    distinct.dedup();
    let step = bytes[1].wrapping_sub(bytes[0]);
    let is_series = bytes
        .windows(2)
        .all(|pair| pair[1].wrapping_sub(pair[0]) == step);
    let half = ClusterSecret::LENGTH / 2;
    let is_repetition = bytes[..half] == bytes[half..];
    let is_text = bytes
        .iter()
        .all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
    is_series || is_repetition || is_text || distinct.len() < MIN_DISTINCT
}

/// Returns whether the text is of letters of one case alone.
///
/// That is a password, whatever it is in base64. Random keys look so once in 10^9 times.
fn is_words(text: &str) -> bool {
    let all = |is_it: fn(&u8) -> bool| text.trim_end_matches('=').bytes().all(|byte| is_it(&byte));
    all(u8::is_ascii_lowercase) || all(u8::is_ascii_uppercase)
}

/// The salt that sets the keys of this crate apart from others' of the same secret.
const SALT: &[u8] = b"tower-cluster-sessions";
/// The least number of different bytes. 32 random ones have 30 on average.
const MIN_DISTINCT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3";
    const BASE64: &str = "Dp0/vSfysfmg8cRnfZoeW4jGwaJd33pMkDv+byJA1+M=";

    fn parse(text: &str) -> Result<ClusterSecret, KeyProblem> {
        KeyText::new(text).parse()
    }

    #[test]
    fn a_key_is_hex_or_base64_of_either_alphabet() {
        let key = parse(HEX).expect("hex");
        let url_safe = BASE64.replace('/', "_").replace('+', "-");
        for text in [
            &HEX.to_uppercase(),
            BASE64,
            BASE64.trim_end_matches('='),
            &url_safe,
            &format!("{BASE64}\n"),
        ] {
            assert_eq!(parse(text).as_ref(), Ok(&key), "{text}");
        }
    }

    #[test]
    fn what_is_not_32_bytes_is_refused() {
        for text in [
            "",
            "hunter2",
            &HEX[2..],
            &format!("{HEX}00"),
            &BASE64[4..],
            "ä",
        ] {
            assert_eq!(parse(text), Err(KeyProblem::Form), "{text}");
        }
    }

    #[test]
    fn weak_keys_are_refused() {
        let series: String = (0..32).map(|byte| format!("{byte:02x}")).collect();
        let text: String = "correct horse battery staple, ok"
            .bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let placeholder = "00112233445566778899aabbccddeeff".repeat(2);
        let counted = series[..32].repeat(2);
        let letters = "thequickbrownfoxjumpsoverthelazydogandwaits";
        assert_eq!(letters.len(), 43);
        for weak in [
            &"00".repeat(32),
            &HEX[..8].repeat(8),
            &HEX[..32].repeat(2),
            &series,
            &text,
            &placeholder,
            &counted,
            letters,
        ] {
            assert_eq!(parse(weak), Err(KeyProblem::Guessable), "{weak}");
        }
    }

    #[test]
    fn derived_keys_differ_by_key_purpose_and_cluster_and_never_change() {
        let (key, other) = (parse(HEX).expect("hex"), ClusterSecret::from_bytes([7; 32]));
        let derived = key.derive("links", "shop");
        assert_eq!(derived, key.derive("links", "shop"));
        assert_ne!(derived, key.derive("links", "blog"));
        assert_ne!(derived, key.derive("cookies", "shop"));
        assert_ne!(derived, other.derive("links", "shop"));
        assert_eq!(derived.bytes()[..4], [182, 233, 238, 75]);
    }

    #[test]
    fn no_key_is_shown() {
        let key = KeyText::new(HEX);
        assert_eq!(
            format!("{key:?} {:?}", key.parse()),
            "KeyText(_) Ok(ClusterSecret(_))"
        );
    }
}
