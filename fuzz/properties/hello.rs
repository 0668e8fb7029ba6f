//! The first words of a stranger are short, harmless in a log, and mean the same to both sides.

use tower_cluster_sessions::internals::untrusted::{FirstWords, Stream};

pub(crate) fn check(bytes: &[u8]) {
    for words in FirstWords::all_in(bytes) {
        let encoded = words.encode();
        assert!(encoded.len() <= bytes.len(), "{words:?} grew");
        assert!(FirstWords::all_in(&encoded).contains(&words), "{words:?}");
        assert!(!words.shown().contains(char::is_control), "{words:?}");
        assert!(words.is_judged_alike(), "{words:?}");
    }
    let framed = Stream::of_a_stranger().encode(bytes);
    assert_eq!(framed.is_some(), bytes.len() <= 1024);
}
