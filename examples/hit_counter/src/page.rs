//! The page a browser shows.

use std::fmt::{Display, Formatter, Result, Write};

use tower_cluster_sessions::{Member, MemberState};

/// What stands in the place of the id of a session that does not exist.
pub(crate) const NO_SESSION: &str = "none";

/// Everything that varies on the page.
#[derive(Debug)]
pub(crate) struct Page<'a> {
    pub(crate) hits: u64,
    pub(crate) session_id: &'a str,
    pub(crate) node: &'a str,
    pub(crate) peers: &'a [Member],
}

impl Display for Page<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let Self {
            hits,
            session_id,
            node,
            peers,
        } = self;
        let session_id = Escaped(session_id);
        let node = Escaped(node);
        write!(
            out,
            r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Session tracking</title>
<link rel="stylesheet" href="/static/style.css">
<link rel="icon" href="data:,">
</head>
<body>
<main>
<h1>Session tracking</h1>
<p class="hits">You have hit this page {hits} times.</p>
<p class="id">Your Session ID is {session_id}</p>
<table>
<thead><tr><th>Node</th><th>State</th></tr></thead>
<tbody>
<tr class="here"><td>{node}</td><td>served this page</td></tr>
"#
        )?;
        for peer in *peers {
            let name = Escaped(peer.name.as_deref().unwrap_or(&peer.address));
            let state = words_for(peer.state);
            writeln!(out, "<tr><td>{name}</td><td>{state}</td></tr>")?;
        }
        out.write_str(
            r#"</tbody>
</table>
<nav><a href="/">Hit again</a> <a href="/logout">Log out</a> <a href="/cluster.json">Cluster</a></nav>
</main>
</body>
</html>
"#,
        )
    }
}

const fn words_for(state: MemberState) -> &'static str {
    match state {
        MemberState::Up => "up",
        MemberState::Lagging => "lagging behind",
        MemberState::Syncing => "fetching sessions",
        MemberState::Suspect => "just lost",
        MemberState::Down => "down",
        MemberState::Left => "left",
        _ => "unknown",
    }
}

/// Text in an HTML element.
#[derive(Clone, Copy, Debug)]
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        self.0.chars().try_for_each(|char| match char {
            '&' => out.write_str("&amp;"),
            '<' => out.write_str("&lt;"),
            '>' => out.write_str("&gt;"),
            '"' => out.write_str("&quot;"),
            other => out.write_char(other),
        })
    }
}
