//! A pattern is a filter, or an error that shows where it goes wrong. Time is the fuzzer's concern.

use tower_cluster_sessions::{FilterError, internals::PathFilter};

/// A pattern, and behind a zero byte a path.
pub(crate) fn check(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let mut next = || String::from_utf8_lossy(parts.next().unwrap_or_default());
    let (pattern, path) = (next(), next());
    match PathFilter::new(&pattern) {
        Ok(filter) => check_filter(&filter, &pattern, &path),
        Err(error) => check_error(&error, &pattern),
    }
}

fn check_filter(filter: &PathFilter, pattern: &str, path: &str) {
    let matched = filter.matches(path);
    if pattern.bytes().all(is_literal) {
        assert_eq!(matched, pattern == path);
    }
    // A letter behind the whole pattern and behind the path changes nothing.
    if let Ok(longer) = PathFilter::new(&format!("(?:{pattern})z"))
        && pattern
            .bytes()
            .all(|byte| is_literal(byte) || b".*|()[]".contains(&byte))
    {
        assert_eq!(longer.matches(&format!("{path}z")), matched);
    }
}

fn check_error(error: &FilterError, pattern: &str) {
    let shown = error.to_string();
    assert_eq!(error.pattern(), pattern);
    assert!(shown.contains(pattern), "{shown}");
    match error.position() {
        Some(at) => {
            assert!(pattern.is_char_boundary(at), "{shown}");
            assert!(shown.contains(&format!(" at position {at}\n")), "{shown}");
        }
        None => assert!(shown.contains("size limit"), "{shown}"),
    }
}

const fn is_literal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'/'
}
