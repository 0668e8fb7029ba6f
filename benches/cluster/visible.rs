//! How long after a request has written on one server another server shows it.

use std::net::SocketAddr;

use crate::{BoxError, client::Connection, clock::now, figures::percentile_us, visitor::parse};

/// Writes that were looked for on the other server, one after the other.
#[derive(Debug)]
pub(crate) struct Visible {
    /// From sending the write until an answer of the other server shows it, in nanoseconds.
    from_request: Vec<u64>,
    /// From the answer to the write.
    from_answer: Vec<u64>,
    /// Writes that the first look saw.
    at_first_look: usize,
}

impl Visible {
    pub(crate) async fn measure(servers: &[SocketAddr], path: &str) -> Result<Self, BoxError> {
        let mut visible = Self {
            from_request: Vec::with_capacity(WRITES),
            from_answer: Vec::with_capacity(WRITES),
            at_first_look: 0,
        };
        let mut writer = Connection::open(servers[0]).await?;
        let mut reader = Connection::open(servers[1]).await?;
        let cookie = writer.get(path, "").await?.cookie().map(str::to_owned);
        let cookie = cookie.ok_or("a new session without a cookie")?;
        for _ in 0..WRITES {
            let began = now();
            let written = parse(writer.get(path, &cookie).await?.body);
            let (written, _) = written.ok_or("a page without a count")?;
            let answered = now();
            let mut looks = 1;
            while parse(reader.get("/peek", &cookie).await?.body).is_none_or(|(c, _)| c < written) {
                looks += 1;
                if looks > PATIENCE {
                    return Err("a write that never arrives".into());
                }
            }
            let seen = now();
            visible.from_request.push((seen - began).as_nanos() as u64);
            visible
                .from_answer
                .push((seen - answered).as_nanos() as u64);
            visible.at_first_look += usize::from(looks == 1);
        }
        visible.from_request.sort_unstable();
        visible.from_answer.sort_unstable();
        Ok(visible)
    }

    pub(crate) fn print(&self, name: &str) {
        let [p50, p99] = [0.5, 0.99].map(|part| percentile_us(&self.from_request, part));
        let answered = percentile_us(&self.from_answer, 0.5);
        let first = self.at_first_look * 100 / WRITES;
        println!(
            "{name}: seen on the other node {p50:.0} us after it was sent (p99 {p99:.0} us), \
             {answered:.0} us after its answer; {first} % at the first look"
        );
    }
}

const WRITES: usize = 3_000;
const PATIENCE: usize = 100_000;
