//! Clients who use their sessions on whichever node comes next.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Method, StatusCode};
use tokio::time::timeout;

use crate::{
    faults::{NODES, Random},
    story::{Answered, End, Held, Life, Story, Weather},
    support::browser::{BrowseError, Browser, Page},
};

/// What clients and faults share.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) hosts: [SocketAddr; NODES],
    /// The life of each node, counted on when it has ended.
    pub(crate) lives: [AtomicU32; NODES],
    /// The life in which each node was last seen linked to all others.
    pub(crate) linked: [AtomicU32; NODES],
    /// The nodes that were stopped in this storm.
    pub(crate) stopped: [AtomicBool; NODES],
    pub(crate) was_apart: AtomicBool,
    pub(crate) requests: AtomicU64,
    pub(crate) is_over: AtomicBool,
}

impl Scene {
    pub(crate) fn life(&self, node: usize) -> Life {
        Life {
            node,
            number: self.lives[node].load(Ordering::SeqCst),
        }
    }

    pub(crate) fn was_stopped(&self) -> bool {
        self.stopped.iter().any(|node| node.load(Ordering::SeqCst))
    }

    /// Returns the nodes beside this one that have run and been linked all the time.
    fn steady(&self, beside: usize) -> [bool; NODES] {
        std::array::from_fn(|node| {
            let linked = self.linked[node].load(Ordering::SeqCst);
            node != beside
                && linked == self.life(node).number
                && !self.stopped[node].load(Ordering::SeqCst)
        })
    }

    fn weather(&self, life: Life) -> Weather {
        let linked = self.linked[life.node].load(Ordering::SeqCst);
        if self.was_apart.load(Ordering::SeqCst) || linked != life.number {
            Weather::Apart
        } else if self.was_stopped() {
            Weather::Stopped
        } else {
            Weather::Clear
        }
    }
}

/// One client and its sessions.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) scene: Arc<Scene>,
    pub(crate) random: Random,
    pub(crate) stories: Vec<Story>,
    pub(crate) violations: Vec<String>,
}

/// What a request has come to.
enum Outcome {
    Answered(Page, Answered),
    /// No node has seen it.
    NotSent,
    /// It may have happened, or happen yet.
    Unknown,
}

impl Client {
    /// Goes on until the storm is over.
    pub(crate) async fn run(mut self) -> Self {
        while !self.scene.is_over.load(Ordering::SeqCst) {
            self.scene.requests.fetch_add(1, Ordering::SeqCst);
            self.act().await;
        }
        self
    }

    async fn act(&mut self) {
        let node = self.random.below(NODES);
        if self.stories.is_empty() || self.random.below(12) == 0 {
            return self.begin(node).await;
        }
        let at = self.random.below(self.stories.len());
        match self.random.below(20) {
            0 => self.log_out(node, at).await,
            1..7 => self.peek(node, at).await,
            7..10 => self.pad(node, at).await,
            _ => self.add(node, at).await,
        }
    }

    async fn begin(&mut self, node: usize) {
        let mut browser = Browser::new();
        if let Outcome::Answered(page, answered) = self.get(node, &mut browser, "/add").await {
            self.take_up(browser, &page, answered);
        }
    }

    /// Begins the story of a session that a node has made.
    fn take_up(&mut self, browser: Browser, page: &Page, answered: Answered) {
        match (page.session_id(), additions(page)) {
            (Some(id), Some(1)) => {
                let story = Story::new(browser, id.to_owned(), answered);
                self.stories.push(story);
            }
            _ => self.violations.push(format!("a new session: {page:?}")),
        }
    }

    async fn add(&mut self, node: usize, at: usize) {
        let mut browser = self.stories[at].browser.clone();
        let outcome = self.get(node, &mut browser, "/add").await;
        let story = &mut self.stories[at];
        match outcome {
            Outcome::NotSent => {}
            Outcome::Unknown => story.may_have_added(),
            Outcome::Answered(page, answered) if page.session_id() == Some(&story.id) => {
                let sum = additions(&page).unwrap_or(0);
                let wrong = story.added(answered, sum);
                self.violations.extend(wrong.err());
            }
            Outcome::Answered(page, answered) => {
                let wrong = story.saw(answered.by, None, 0);
                self.violations.extend(wrong.err());
                self.take_up(browser, &page, answered);
            }
        }
    }

    async fn pad(&mut self, node: usize, at: usize) {
        let padding = 1 + self.random.below(2000) as u64;
        let mut browser = self.stories[at].browser.clone();
        let path = format!("/hit?pad={padding}");
        let outcome = self.get(node, &mut browser, &path).await;
        let story = &mut self.stories[at];
        match outcome {
            Outcome::NotSent => {}
            Outcome::Unknown => story.padded(padding, None),
            Outcome::Answered(page, answered) if page.session_id() == Some(&story.id) => {
                story.padded(padding, Some(answered));
            }
            Outcome::Answered(_, answered) => {
                let wrong = story.saw(answered.by, None, 0);
                self.violations.extend(wrong.err());
            }
        }
    }

    async fn peek(&mut self, node: usize, at: usize) {
        let mut browser = self.stories[at].browser.clone();
        let outcome = self.get(node, &mut browser, "/peek").await;
        let story = &mut self.stories[at];
        if let Outcome::Answered(page, answered) = outcome {
            let sum = (page.session_id() == Some(&story.id)).then(|| additions(&page));
            let wrong = story.saw(answered.by, sum.flatten(), 0);
            self.violations.extend(wrong.err());
        }
    }

    async fn log_out(&mut self, node: usize, at: usize) {
        if !matches!(self.stories[at].end, End::Lives) {
            return;
        }
        let mut browser = self.stories[at].browser.clone();
        let outcome = self.send(Method::POST, node, &mut browser, "/logout").await;
        self.stories[at].end = match outcome {
            Outcome::NotSent => return,
            Outcome::Unknown => End::Unknown,
            Outcome::Answered(_, answered) => End::LoggedOut(answered),
        };
    }

    async fn get(&self, node: usize, browser: &mut Browser, path: &str) -> Outcome {
        self.send(Method::GET, node, browser, path).await
    }

    async fn send(
        &self,
        method: Method,
        node: usize,
        browser: &mut Browser,
        path: &str,
    ) -> Outcome {
        let before = self.scene.life(node);
        let host = self.scene.hosts[node];
        let page = match timeout(PATIENCE, browser.send(method, host, path)).await {
            Ok(Ok(page)) if page.status == StatusCode::OK => page,
            Ok(Err(BrowseError::NoAnswer(error))) if error.is_connect() => return Outcome::NotSent,
            _ => return Outcome::Unknown,
        };
        let is_same = self.scene.life(node) == before;
        let answered = Answered {
            by: is_same.then_some(before),
            weather: self.scene.weather(before),
            steady: self.scene.steady(node),
        };
        Outcome::Answered(page, answered)
    }
}

/// Asks a node what it holds of a session.
pub(crate) async fn look(host: SocketAddr, story: &Story) -> Option<Held> {
    let page = story.browser.clone().get(host, "/peek").await;
    let page = page.expect("the storm is over");
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    if page.session_id() != Some(&story.id) {
        return None;
    }
    Some(Held {
        additions: additions(&page)?,
        padding: number(&page, "The session holds ", " bytes of padding.")?,
    })
}

fn additions(page: &Page) -> Option<u64> {
    number(page, "You have added ", " times.")
}

fn number(page: &Page, before: &str, after: &str) -> Option<u64> {
    let (_, rest) = page.text.split_once(before)?;
    rest.split_once(after)?.0.parse().ok()
}

/// A client who waits longer turns to another node.
const PATIENCE: Duration = Duration::from_secs(3);
