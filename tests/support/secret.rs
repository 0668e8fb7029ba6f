//! Looking for the secret of a session id in what others may see.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// 16 bytes that must not show, and all the ways in which they might.
#[derive(Debug)]
pub(crate) struct Needle(Vec<Vec<u8>>);

impl Needle {
    /// The secret in a cookie's value, with or without a name in front or a route behind.
    pub(crate) fn secret_of(cookie: &str) -> Self {
        let (text, bytes) = parts(cookie);
        let mut forms = Self::forms(&bytes[16..]);
        // Of the text these characters are those that depend on the secret alone.
        forms.extend([&text[22..32], &text[33..43]].map(|part| part.as_bytes().to_vec()));
        Self(forms)
    }

    /// The session key, beyond the eight hex digits that logs may show.
    pub(crate) fn key_of(cookie: &str) -> Self {
        let (text, bytes) = parts(cookie);
        let mut forms = Self::forms(&bytes[..16]);
        forms.push(hex(&bytes[..5]).into_bytes());
        forms.push(text.as_bytes()[..12].to_vec());
        Self(forms)
    }

    /// Whether any form of any half of it is there.
    pub(crate) fn is_in(&self, haystack: &[u8]) -> bool {
        let lower = haystack.to_ascii_lowercase();
        self.0.iter().any(|form| {
            let is_there = |bytes: &[u8]| bytes.windows(form.len()).any(|part| part == form);
            is_there(haystack) || is_there(&lower)
        })
    }

    /// Raw, in hex, in base64, and as `Debug` shows bytes: the halves of each, so that a part will
    /// do.
    fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
        let (first, last) = secret.split_at(8);
        let mut forms = Vec::new();
        for half in [first, last] {
            let list: Vec<_> = half.iter().map(u8::to_string).collect();
            forms.push(half.to_vec());
            forms.push(hex(half).into_bytes());
            forms.push(list.join(", ").into_bytes());
        }
        forms.push(URL_SAFE_NO_PAD.encode(secret).into_bytes());
        forms
    }
}

/// The text and the bytes of a cookie's value.
fn parts(cookie: &str) -> (&str, Vec<u8>) {
    let value = cookie.split_once('=').map_or(cookie, |(_, value)| value);
    let text = value.split('.').next().unwrap_or_default();
    let bytes = URL_SAFE_NO_PAD.decode(text).expect("a session cookie");
    assert_eq!(bytes.len(), 32, "{cookie}");
    (text, bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
