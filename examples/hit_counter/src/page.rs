//! The pages a browser shows.

use std::fmt::{Display, Formatter, Result, Write};

use tower_cluster_sessions::{Member, MemberState};

/// What stands in the place of the id of a session that does not exist.
pub(crate) const NO_SESSION: &str = "none";

/// Everything that varies on the page that counts.
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
        let times = if *hits == 1 { "time" } else { "times" };
        let session_id = Escaped(session_id);
        let node = Escaped(node);
        write!(
            out,
            r#"{HEAD}<p class="hits">You have hit this page {hits} {times}.</p>
<p class="id">Your Session ID is {session_id}</p>
<table>
<thead><tr><th>Node</th><th>State</th></tr></thead>
<tbody>
<tr class="here"><td>{node}</td><td class="good">served this page</td></tr>
"#
        )?;
        for peer in *peers {
            let name = Escaped(peer.name.as_deref().unwrap_or(&peer.address));
            let (class, state) = shown(peer.state);
            writeln!(
                out,
                r#"<tr><td>{name}</td><td class="{class}">{state}</td></tr>"#
            )?;
        }
        write!(
            out,
            r#"</tbody>
</table>
<nav>
<a href="/">Hit again</a>
<form method="post" action="/logout"><button>Log out</button></form>
</nav>
{TAIL}"#
        )
    }
}

/// The page after a logout. It does not lead on by itself: that would begin the next session.
#[derive(Debug)]
pub(crate) struct LoggedOut;

impl Display for LoggedOut {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        write!(
            out,
            r#"{HEAD}<p class="hits">You are logged out.</p>
<nav>
<a href="/">Begin a new session</a>
</nav>
{TAIL}"#
        )
    }
}

/// How a state looks, and what it is called.
const fn shown(state: MemberState) -> (&'static str, &'static str) {
    match state {
        MemberState::Up => ("good", "up"),
        MemberState::Lagging => ("slow", "lagging behind"),
        MemberState::Syncing => ("slow", "fetching sessions"),
        MemberState::Suspect => ("gone", "just lost"),
        MemberState::Down => ("gone", "down"),
        MemberState::Left => ("gone", "left"),
        _ => ("gone", "unknown"),
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

const HEAD: &str = r#"<!doctype html>
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
"#;
const TAIL: &str = "</main>
</body>
</html>
";
