//! Whatever the `Cookie` fields of a request hold, eight cookies at most are tried, and only those
//! that this crate may have written.

use tower_cluster_sessions::internals::CookieHeaders;

/// Fields, one a line.
pub(crate) fn check(data: &[u8]) {
    let fields = || data.split(|byte| *byte == b'\n').take(MAX_FIELDS);
    let cookies = CookieHeaders::new(fields());
    let expected: Vec<&str> = values(fields(), "__Host-id")
        .map(|value| value.split_once('.').map_or(value, |(before, _)| before))
        .filter(|value| is_of_this_crate(value))
        .collect();
    assert_eq!(cookies.candidates(), expected);

    let tokens = cookies.tokens();
    let expected: Vec<&str> = values(fields(), "__Host-id-seen").collect();
    assert!(tokens.iter().map(|(text, _)| text).eq(&expected));
    for (text, again) in tokens {
        assert!(again.is_none_or(|again| again == text), "{text}");
    }
}

/// The first eight values of a cookie, by the book.
fn values<'a>(
    fields: impl Iterator<Item = &'a [u8]>,
    name: &'a str,
) -> impl Iterator<Item = &'a str> {
    let is_visible = |byte: &u8| *byte == b'\t' || *byte >= b' ' && *byte != 0x7F;
    fields
        .filter(move |field| field.iter().all(is_visible))
        .map(move |field| looked_at(field, name))
        .flat_map(|field| field.split(|byte| *byte == b';'))
        .filter_map(|pair| str::from_utf8(pair).ok()?.split_once('='))
        .filter(move |(found, _)| found.trim_ascii() == name)
        .map(|(_, value)| unquoted(value.trim()))
        .take(8)
}

/// A field up to where the name stands too often.
fn looked_at<'a>(field: &'a [u8], name: &str) -> &'a [u8] {
    let mut starts = (0..field.len()).filter(|at| field[*at..].starts_with(name.as_bytes()));
    match starts.nth(64) {
        Some(end) => &field[..end],
        None => field,
    }
}

fn unquoted(value: &str) -> &str {
    let inner = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    inner.unwrap_or(value)
}

/// 43 digits of base64url are two bits more than 32 bytes; those are zero.
fn is_of_this_crate(value: &str) -> bool {
    let digit = |byte| DIGITS.iter().position(|digit| *digit == byte);
    value.len() == 43
        && value.bytes().all(|byte| digit(byte).is_some())
        && value
            .bytes()
            .last()
            .and_then(digit)
            .is_some_and(|last| last % 4 == 0)
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// More than servers take.
const MAX_FIELDS: usize = 1000;
