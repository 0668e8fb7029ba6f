//! A user with a browser, who trusts no count.

use std::net::SocketAddr;

use http::StatusCode;

use super::browser::{Browser, Page};

/// A user whose every hit must count, in one session.
#[derive(Debug)]
pub(crate) struct Visitor {
    browser: Browser,
    id: Option<String>,
    hits: u64,
}

impl Visitor {
    pub(crate) fn new() -> Self {
        Self {
            browser: Browser::new(),
            id: None,
            hits: 0,
        }
    }

    /// Hits the page. Panics unless the session is the same and the count is one more.
    pub(crate) async fn hit(&mut self, host: SocketAddr) -> Page {
        self.hits += 1;
        self.get(host, "/hit").await
    }

    /// Looks at the page. Panics unless it shows the session and the count of the last hit.
    pub(crate) async fn peek(&mut self, host: SocketAddr) -> Page {
        self.get(host, "/peek").await
    }

    /// The session's id.
    pub(crate) fn id(&self) -> &str {
        self.id.as_deref().expect("a hit came before")
    }

    /// How often the page was hit.
    pub(crate) const fn hits(&self) -> u64 {
        self.hits
    }

    /// A browser with the same cookie.
    pub(crate) fn browser(&self) -> Browser {
        self.browser.clone()
    }

    async fn get(&mut self, host: SocketAddr, path: &str) -> Page {
        let page = match self.browser.get(host, path).await {
            Ok(page) => page,
            Err(error) => panic!("{path} at {host} as hit {}: {error}", self.hits),
        };
        assert_eq!(page.status, StatusCode::OK, "{path} at {host}: {page:?}");
        assert_eq!(page.hits(), Some(self.hits), "{path} at {host}: {page:?}");
        let id = page.session_id().map(str::to_owned);
        if self.id.is_some() {
            assert_eq!(id, self.id, "{path} at {host}: {page:?}");
        }
        self.id = id;
        page
    }
}
