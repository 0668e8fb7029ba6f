//! The app on two nodes of this process, with browsers that keep cookies.

mod devices;
mod logins;
mod passwords;
mod remembered;

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{
        Request, StatusCode,
        header::{CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE, USER_AGENT},
        request::Builder,
    },
    response::Response,
};
use cookie::Cookie;
use tower::ServiceExt as _;
use tower_cluster_sessions::test_util::TestCluster;

use crate::{
    app::{App, Scheme},
    database::Database,
    door::DoorKind,
    node::indexed,
    users::{DEMO_USERS, Users},
};

const DOORS: [DoorKind; 2] = [DoorKind::Store, DoorKind::Layer];

/// Two nodes of the app, and its users.
struct Site {
    cluster: TestCluster,
    users: Users,
    door: DoorKind,
}

impl Site {
    async fn start(door: DoorKind) -> Self {
        let users = Users::new(Database::in_memory().expect("there is memory"));
        users.add_demo_users().await.expect("there is room");
        Self {
            cluster: TestCluster::start_with(2, indexed).await,
            users,
            door,
        }
    }

    fn router(&self, node: usize) -> Router {
        let cluster = self.cluster.cluster(node).clone();
        App::new(cluster, self.users.clone(), self.door, Scheme::Http).router()
    }

    fn browser(&self, name: &'static str) -> Browser {
        let _ = self;
        Browser {
            name,
            cookies: BTreeMap::new(),
        }
    }
}

/// What a user has in front of him: cookies, and a name that it sends.
#[derive(Clone, Debug)]
struct Browser {
    name: &'static str,
    cookies: BTreeMap<String, String>,
}

/// What came back.
#[derive(Debug)]
struct Page {
    status: StatusCode,
    /// Where it leads, if elsewhere.
    location: Option<String>,
    text: String,
}

impl Page {
    fn shows(&self, text: &str) -> bool {
        self.text.contains(text)
    }

    /// The ids of the devices that can be logged out, in the order of the page.
    fn devices(&self) -> Vec<String> {
        let forms = self.text.split(r#"name="device" value=""#).skip(1);
        let ids = forms.filter_map(|form| form.split('"').next());
        ids.map(str::to_owned).collect()
    }
}

impl Browser {
    async fn get(&mut self, site: &Site, node: usize, path: &str) -> Page {
        self.send(site, node, Request::get(path), String::new())
            .await
    }

    /// Sends a form.
    async fn post(&mut self, site: &Site, node: usize, path: &str, form: &[(&str, &str)]) -> Page {
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let request = Request::post(path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        self.send(site, node, request, form).await
    }

    /// Gets a page, and those that it leads to.
    async fn visit(&mut self, site: &Site, node: usize, path: &str) -> Page {
        let mut page = self.get(site, node, path).await;
        for _ in 0..3 {
            let Some(location) = page.location.take() else {
                break;
            };
            page = self.get(site, node, &location).await;
        }
        page
    }

    /// Logs in, with a tick in the box where it is to be remembered.
    async fn log_in(&mut self, site: &Site, node: usize, user: &str, box_of: Tick) -> Page {
        let mut form = vec![("name", user), ("password", password_of(user))];
        if box_of == Tick::Remember {
            form.push(("remember", "on"));
        }
        self.post(site, node, "/login", &form).await
    }

    /// Whose page it gets, `""` for nobody's.
    async fn user(&mut self, site: &Site, node: usize) -> &'static str {
        let page = self.get(site, node, "/").await;
        let names = DEMO_USERS.map(|(name, ..)| name);
        let mut names = names.into_iter();
        names
            .find(|name| page.shows(&format!("Hello, {name}.")))
            .unwrap_or_default()
    }

    /// Loses its sessions' cookies, as by being closed, and keeps the others.
    fn restart(&mut self) {
        self.cookies.retain(|name, _| name == "remember");
    }

    fn remembered(&self) -> Option<String> {
        self.cookies.get("remember").cloned()
    }

    async fn send(&mut self, site: &Site, node: usize, request: Builder, body: String) -> Page {
        let response = site.router(node).oneshot(self.request(request, body)).await;
        self.keep(response.expect("it cannot fail")).await
    }

    fn request(&self, request: Builder, body: String) -> Request<Body> {
        let pairs = self.cookies.iter();
        let pairs: Vec<_> = pairs
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let mut request = request.header(USER_AGENT, self.name);
        if !pairs.is_empty() {
            request = request.header(COOKIE, pairs.join("; "));
        }
        request.body(Body::from(body)).expect("a request")
    }

    async fn keep(&mut self, response: Response) -> Page {
        let (head, body) = response.into_parts();
        for set in head.headers.get_all(SET_COOKIE) {
            let set = set.to_str().expect("it is text");
            let cookie = Cookie::parse(set).expect("a cookie");
            if cookie.max_age().is_some_and(|age| age.is_zero()) {
                self.cookies.remove(cookie.name());
            } else {
                let (name, value) = cookie.name_value();
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let location = head.headers.get(LOCATION);
        let location = location.map(|location| location.to_str().expect("it is text").to_owned());
        let body = to_bytes(body, 1 << 20).await.expect("it is short");
        Page {
            status: head.status,
            location,
            text: String::from_utf8(body.to_vec()).expect("it is text"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tick {
    Nothing,
    Remember,
}

fn password_of(user: &str) -> &'static str {
    let known = DEMO_USERS.iter().find(|(name, ..)| *name == user);
    known.map_or("wrong", |(_, password, _)| password)
}

/// Lets so much time pass at once, as for processes that are stopped, and then what follows from
/// that.
async fn pass(time: Duration) {
    tokio::time::advance(time).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
}

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0";
const SAFARI: &str = "Mozilla/5.0 (iPhone) Version/18.0 Safari/604.1";
const EDGE: &str = "Mozilla/5.0 (Windows NT 10.0) Chrome/150.0 Safari/537.36 Edg/150.0";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
