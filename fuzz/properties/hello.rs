//! The first words of a stranger are short, harmless in a log, and mean the same to both sides.

use tower_cluster_sessions::internals::{BytesMut, Confirm, FrameCodec, Greeting, Hello, Refusal};

pub(crate) fn check(bytes: &[u8]) {
    if let Ok(hello) = Hello::decode(bytes) {
        check_hello(&hello);
        let again = encoded(bytes, |out| hello.encode(out));
        assert_eq!(Hello::decode(&again), Ok(hello));
    }
    if let Ok(greeting) = Greeting::decode(bytes) {
        match &greeting {
            Greeting::Welcome(hello) => check_hello(hello),
            Greeting::Refused(refusal) => check_refusal(refusal),
            other => panic!("{other:?} is new"),
        }
        let again = encoded(bytes, |out| greeting.encode(out));
        assert_eq!(Greeting::decode(&again), Ok(greeting));
    }
    if let Ok(confirm) = Confirm::decode(bytes) {
        if let Confirm::Refused(refusal) = &confirm {
            check_refusal(refusal);
        }
        let again = encoded(bytes, |out| confirm.encode(out));
        assert_eq!(Confirm::decode(&again), Ok(confirm));
    }
    let framed = FrameCodec::before_hello().encode_message(bytes, &mut BytesMut::new());
    assert_eq!(framed.is_ok(), bytes.len() <= 1024);
}

/// What is said again is no longer than what came.
fn encoded(bytes: &[u8], encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    assert!(out.len() <= bytes.len(), "{out:02x?} grew");
    out
}

fn check_hello(theirs: &Hello) {
    let advertised = theirs.advertise.as_deref().unwrap_or_default();
    for shown in [&theirs.cluster, &theirs.node, advertised] {
        assert!(!shown.contains(char::is_control), "{theirs:?}");
    }
    let ours = Hello::decode(OURS).expect("a hello");
    let judged = [ours.judge(theirs).ok(), theirs.judge(&ours).ok()];
    assert_eq!(judged[0], judged[1], "{theirs:?}");
}

fn check_refusal(refusal: &Refusal) {
    let shown = refusal.to_string();
    assert!(!shown.contains(char::is_control), "{shown:?}");
}

const OURS: &[u8] = b"TwCS\x01\x01\x08sessions\x05node1\x01\x01\x01\x01\x01\x01\x01\x01\0";
