//! What opens a session shows in no `Debug` output, however deep one looks.

#[path = "../../../tests/support/secret.rs"]
mod secret;

use self::secret::Needle;
use super::*;
use crate::{
    middleware::cookie::{CookieRules, request_cookies::RequestCookies},
    session::{CookieValue, Item},
    wire::Message,
};

#[tokio::test(start_paused = true)]
async fn secrets_do_not_show_in_debug_output_of_anything_inside() {
    let [one, two] = pair().await;
    let cookie = start(&one).await;
    assert_eq!(read(&two, &cookie, "a").await, Some(1));
    let value = cookie.split_once('=').expect("a name").1;
    let parsed = CookieValue::parse(value).expect("own format");
    let key = parsed.key;
    let node = one.cluster().node();
    let state = node.read(&key, Clone::clone).expect("it lives");
    let message = Message::Supply {
        items: vec![(key, Item::Full(Box::new(state)))],
    };
    let mut request = request(&cookie);
    let rules = CookieRules::default().check(None).expect("defaults");
    let cookies = RequestCookies::find(&rules, None, request.headers_mut());
    assert!(!cookies.is_empty(&rules));
    let request = shown_by_handles(&one, &cookie).await;
    // A node shows its whole store.
    let inside = format!("{node:?}");
    assert!(inside.contains(&format!("{key:?}")), "the session is there");
    assert!(!Needle::key_of(&cookie).is_in(inside.as_bytes()));
    assert!(format!("{message:?}").contains("SecretHash"));
    for shown in [
        inside,
        format!("{parsed:?} {:?}", parsed.secret),
        format!("{message:?}"),
        format!("{cookies:?}"),
        request,
        format!("{:?}", two.cluster().node()),
    ] {
        assert!(
            !Needle::secret_of(&cookie).is_in(shown.as_bytes()),
            "{shown}"
        );
    }
}

/// Returns what the handles of a request that has loaded its session show.
async fn shown_by_handles(layer: &ClusterSessionLayer, cookie: &str) -> String {
    let service = service_fn(async |request: Request<()>| {
        let slot = request.extensions().get::<SessionSlot>().cloned();
        let slot = slot.expect("the layer put it there");
        let session = slot.load().await;
        Ok::<_, Infallible>(Response::new(format!("{slot:?} {session:?}")))
    });
    let answer = layer.layer(service).call(request(cookie)).await;
    answer.unwrap_or_else(|never| match never {}).into_body()
}

fn request(cookie: &str) -> Request<()> {
    let request = Request::get("/").header(COOKIE, cookie);
    request.body(()).expect("a request")
}
