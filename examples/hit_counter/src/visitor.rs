//! Somebody who hits the page, and complains.

use std::net::SocketAddr;

use crate::browser::Browser;

/// Somebody with one browser, who notes every answer.
#[derive(Debug)]
pub(crate) struct Visitor {
    browser: Browser,
    balancer: SocketAddr,
    requests: u64,
    /// The first session id.
    id: Option<String>,
    /// What was wrong, first things first.
    complaints: Vec<String>,
    last_hits: u64,
}

impl Visitor {
    pub(crate) fn new(balancer: SocketAddr) -> Self {
        Self {
            browser: Browser::new(),
            balancer,
            requests: 0,
            id: None,
            complaints: Vec::new(),
            last_hits: 0,
        }
    }

    /// Hits the page a few times, and prints a line of the table for each.
    pub(crate) async fn hit(&mut self) {
        const HITS: usize = 3;
        for _ in 0..HITS {
            self.requests += 1;
            let request = self.requests;
            match self.browser.get(self.balancer, "/hit").await {
                Ok(page) => {
                    let node = page.served_by().unwrap_or("-");
                    let id = page.session_id().unwrap_or("-");
                    let hits = page.hits().map(|hits| hits.to_string());
                    let shown = hits.unwrap_or_else(|| page.status.to_string());
                    println!("{request:>7} | {node:<9} | {id:<28} | {shown:>4}");
                    self.judge(id, page.hits());
                }
                Err(error) => {
                    println!("{request:>7} | -         | {error}");
                    self.complaints.push(format!("request {request}: {error}"));
                }
            }
        }
    }

    fn judge(&mut self, id: &str, hits: Option<u64>) {
        let request = self.requests;
        let first = self.id.get_or_insert_with(|| id.to_owned());
        if first != id {
            let complaint = format!("request {request}: the session id was {first} and is {id}");
            self.complaints.push(complaint);
        }
        let expected = self.last_hits + 1;
        if hits != Some(expected) {
            let hits = hits.map_or_else(|| "none".to_owned(), |hits| hits.to_string());
            let complaint = format!("request {request}: the count should be {expected}, is {hits}");
            self.complaints.push(complaint);
        }
        self.last_hits = hits.unwrap_or(self.last_hits);
    }

    /// Whether nothing was wrong.
    pub(crate) fn is_content(&self) -> bool {
        self.complaints.is_empty()
    }

    /// One line about all of it.
    pub(crate) fn verdict(&self) -> String {
        let requests = self.requests;
        match self.complaints.as_slice() {
            [] => format!(
                "OK: the session id stayed, and every count was the one before plus one, \
                 in {requests} requests"
            ),
            [first, ..] => format!(
                "FAILED: {} of {requests} requests went wrong; {first}",
                self.complaints.len()
            ),
        }
    }
}
