//! Signed and private cookies: what they look like, which are believed, and how keys are replaced.

use std::panic::{AssertUnwindSafe, catch_unwind};

use http::header::{CACHE_CONTROL, SET_COOKIE};
use tower::Layer as _;
use tower_cluster_sessions::{
    ClusterConfig, ClusterSessionLayer, Consistency, CookieKey, LayerError,
};

use crate::http_support::*;

type Seal = fn(&ClusterSessionLayer, Vec<CookieKey>) -> ClusterSessionLayer;

const SEALS: [Seal; 2] = [
    |layer, keys| layer.clone().with_signed(keys),
    |layer, keys| layer.clone().with_private(keys),
];

#[tokio::test]
async fn sealed_cookie_is_a_valid_value_with_the_route_behind_the_seal() {
    let layer = ClusterSessionLayer::new(ClusterConfig::standalone().route("node1"));
    for (seal, length) in SEALS.into_iter().zip([86, 95]) {
        let layer = seal(&layer, vec![key(1)]);
        let (cookie, id) = start(&layer, "a", 1).await;
        let sent = cookie.strip_prefix("__Host-id=").expect("the name");
        // RFC 6265: cookie-octet.
        let is_octet = |byte: u8| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte);
        assert!(sent.bytes().all(is_octet), "{sent}");
        // Whether a balancer takes what follows the first dot or the last one.
        let (sealed, route) = sent.split_once('.').expect("a route");
        assert_eq!((sealed.len(), route), (length, "node1"));
        assert!(id.ends_with(".node1"), "{id}");
        assert_eq!(value(&layer, &cookie, "a").await, Some(1));
    }
}

#[tokio::test]
async fn route_behind_the_seal_is_ignored_on_read() {
    let layer = ClusterSessionLayer::new(ClusterConfig::standalone().route("node1"));
    for seal in SEALS {
        let layer = seal(&layer, vec![key(1)]);
        let (cookie, _) = start(&layer, "a", 1).await;
        for route in ["", ".node2", ".a.b"] {
            let other = cookie.replace(".node1", route);
            let response = visit(&layer, &other, async |session| {
                session.get::<u64>("a").unwrap()
            })
            .await;
            assert!(!response.headers().contains_key(SET_COOKIE), "{other}");
            assert_eq!(response.into_body(), Some(1), "{other}");
        }
    }
}

#[tokio::test]
async fn private_cookie_hides_the_public_id_that_a_signed_one_shows() {
    let layer = layer().await;
    for (seal, shows) in SEALS.into_iter().zip([true, false]) {
        let (cookie, id) = start(&seal(&layer, vec![key(1)]), "a", 1).await;
        // The last character of the id shares its bits with what follows in the cookie.
        assert_eq!(cookie.contains(&id[..id.len() - 1]), shows, "{cookie}");
    }
}

#[tokio::test]
async fn cookie_that_no_key_of_the_layer_sealed_is_an_unknown_id() {
    let plain = layer().await;
    for (at, seal) in SEALS.into_iter().enumerate() {
        let layer = seal(&plain, vec![key(1), key(2)]);
        let (sealed, _) = start(&layer, "a", 1).await;
        let mut foreign = vec![sealed.replacen('=', "=A", 1), sealed[..50].to_owned()];
        for other in [
            plain.clone(),
            seal(&plain, vec![key(3)]),
            SEALS[1 - at](&plain, vec![key(1)]),
        ] {
            foreign.push(start(&other, "a", 1).await.0);
            assert_eq!(value(&other, &sealed, "a").await, None, "nor there");
        }
        for foreign in foreign {
            let read = async |session: tower_cluster_sessions::Session| session.id();
            let response = visit(&layer, &foreign, read).await;
            assert!(
                !response.headers().contains_key(SET_COOKIE),
                "no removal: {foreign}"
            );
            assert_eq!(response.into_body(), None, "{foreign}");

            let response = visit(&layer, &foreign, async |session| {
                session.insert("a", 2).unwrap();
            })
            .await;
            let minted = cookie(&response).expect("a session of its own");
            assert_eq!(value(&layer, &minted, "a").await, Some(2));
            assert_eq!(value(&layer, &foreign, "a").await, None, "not adopted");
        }
    }
}

#[tokio::test]
async fn private_cookie_is_good_for_its_name_alone() {
    let one = layer().await.with_private(key(1));
    let (cookie, _) = start(&one, "a", 1).await;
    let renamed = one.clone().with_name("__Host-sid");
    let moved = cookie.replace("__Host-id=", "__Host-sid=");
    assert_eq!(value(&renamed, &moved, "a").await, None);
}

#[tokio::test]
async fn cookie_of_an_older_key_is_sent_again_sealed_with_the_newest_and_never_cached() {
    let layer = layer().await.with_persistent_cookie();
    for seal in SEALS {
        let before = seal(&layer, vec![key(1)]);
        let now = seal(&layer, vec![key(2), key(1)]);
        let later = seal(&layer, vec![key(2)]);
        let (old, id) = start(&before, "a", 1).await;
        let response = visit(&now, &old, async |session| session.id().unwrap()).await;
        assert_eq!(response.headers()[CACHE_CONTROL], "no-store");
        assert!(set_cookie(&response).unwrap().contains("Max-Age=34560000"));
        let new = cookie(&response).unwrap();
        assert_eq!(response.into_body(), id, "the same session");
        assert_eq!(value(&later, &new, "a").await, Some(1));
        assert_eq!(value(&before, &new, "a").await, None);

        let response = visit(&now, &new, async |session| session.insert("a", 2).unwrap()).await;
        assert!(
            !response.headers().contains_key(SET_COOKIE),
            "it has the newest"
        );
    }
}

#[tokio::test]
async fn keys_are_replaced_step_by_step_without_logging_anybody_out() {
    let layer = layer().await;
    for seal in SEALS {
        let [old, new] = [key(1), key(2)];
        let steps = [
            vec![old.clone()],
            vec![old.clone(), new.clone()],
            vec![new.clone(), old.clone()],
            vec![new],
        ];
        let steps = steps.map(|keys| seal(&layer, keys));
        let (mut jar, _) = start(&steps[0], "a", 1).await;
        // Some nodes are a step ahead of the others, and the client goes to and fro.
        for nodes in steps.windows(2) {
            for node in [&nodes[0], &nodes[1], &nodes[0], &nodes[1]] {
                let response =
                    visit(node, &jar, async |session| session.get::<u64>("a").unwrap()).await;
                jar = cookie(&response).unwrap_or(jar);
                assert_eq!(response.into_body(), Some(1));
            }
        }
    }
}

#[tokio::test]
async fn outdated_cookie_is_not_sent_again_when_its_id_has_died_meanwhile() {
    let layer = layer().await;
    for seal in SEALS {
        let now = seal(&layer, vec![key(2), key(1)]);
        for log_out in [true, false] {
            let (old, _) = start(&seal(&layer, vec![key(1)]), "a", 1).await;
            let response = visit(&now, &old, async |_| {
                visit(&now, &old, async |other| match log_out {
                    true => other.destroy().unwrap(),
                    false => other.cycle_id().unwrap(),
                })
                .await
            })
            .await;
            assert_eq!(set_cookie(&response), None, "log_out: {log_out}");
            let other = set_cookie(&response.into_body()).expect("removal or another id");
            assert_eq!(other.contains("Max-Age=0"), log_out, "{other}");
        }
    }
}

#[tokio::test]
async fn eight_cookies_are_tried_also_when_seven_are_forged() {
    let plain = layer().await;
    for seal in SEALS {
        let layer = seal(&plain, vec![key(1)]);
        let (good, _) = start(&layer, "a", 1).await;
        let (forged, _) = start(&seal(&plain, vec![key(2)]), "a", 2).await;
        for (planted, expected) in [(7, Some(1)), (8, None)] {
            let mut cookies = vec![forged.clone(); planted];
            cookies.push(good.clone());
            assert_eq!(value(&layer, &cookies.join("; "), "a").await, expected);
            assert_eq!(value(&layer, cookies.as_slice(), "a").await, expected);
        }
    }
}

#[tokio::test]
async fn sealed_cookie_of_one_context_opens_nothing_in_another() {
    let layer = layer().await;
    for seal in SEALS {
        let shop = seal(&layer, vec![key(1)]).with_context("shop");
        let forum = seal(&layer, vec![key(1)]).with_context("forum");
        let (cookie, _) = start(&shop, "a", 1).await;
        let moved = cookie.replace("-shop=", "-forum=");
        assert_eq!(value(&forum, &moved, "a").await, None);
        assert_eq!(value(&shop, &cookie, "a").await, Some(1));
    }
}

#[tokio::test]
async fn token_of_read_your_writes_keeps_its_own_signature() {
    let key_of_tokens = "0e9d3fbd27f2b1f9a0f1c4677d9a1e5b88c6c1a25ddf7a4c903bfe6f2240d7e3";
    let config = ClusterConfig::standalone().consistency_key(key_of_tokens);
    let layer = ClusterSessionLayer::new(config).with_consistency(Consistency::ReadYourWrites);
    for seal in SEALS {
        let layer = seal(&layer, vec![key(1)]);
        let response = visit(&layer, (), async |session| session.insert("a", 1).unwrap()).await;
        let fields = response.headers().get_all(SET_COOKIE).iter();
        let pairs: Vec<&str> = fields
            .map(|field| field.to_str().unwrap().split(';').next().unwrap())
            .collect();
        let token = pairs[1].strip_prefix("__Host-id-seen=").expect("the token");
        assert_eq!(token.len(), 48, "as without a seal: {token}");
        assert_eq!(value(&layer, &pairs.join("; "), "a").await, Some(1));
    }
}

#[tokio::test]
async fn cookie_is_not_signed_and_private_at_once_nor_sealed_without_a_key() {
    let layer = layer().await;
    let signed = layer.clone().with_signed(key(1));
    let cases = [
        (
            signed.clone().with_private(key(1)),
            LayerError::SignedAndPrivate,
            "leave out `with_signed`",
        ),
        (
            layer.clone().with_private(key(1)).with_signed(key(2)),
            LayerError::SignedAndPrivate,
            "leave out `with_signed`",
        ),
        (
            layer.clone().with_signed(Vec::new()),
            LayerError::NoCookieKey,
            "openssl rand -out cookie.key 64",
        ),
        (
            layer.clone().with_private([]),
            LayerError::NoCookieKey,
            "openssl rand -out cookie.key 64",
        ),
    ];
    for (layer, expected, fix) in cases {
        let error = layer.check().expect_err(fix);
        assert_eq!(error, expected);
        let layered = catch_unwind(AssertUnwindSafe(|| drop(layer.layer(()))));
        let panic = layered.expect_err("layer checks, too");
        assert!(panic.downcast_ref::<String>().unwrap().contains(fix));
    }
    let (cookie, _) = start(&signed, "a", 1).await;
    let again = layer.with_signed([]).with_signed(key(1));
    assert_eq!(value(&again, &cookie, "a").await, Some(1), "the last call");
}
