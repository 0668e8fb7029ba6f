//! Links from one page to another, relative to where the browser believes it is.
//!
//! Nobody tells the page under which path it is nested, and a proxy may have stripped a part of that.
//! What is sure is the last segment of that path, which both the browser and this node see.

use std::fmt;

use axum::http::Uri;

/// The ways from a page to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Links {
    /// To the folder of all pages but the first: what stands before their names.
    folder: String,
    /// To the first page.
    pub(super) home: String,
}

impl Links {
    /// Returns the ways from the page that was asked for. `own` is its path below that of the first
    /// page, `original` the whole one.
    pub(super) fn of(own: &Uri, original: &Uri) -> Self {
        let (own, original) = (own.path(), original.path());
        let nest = original.strip_suffix(own).unwrap_or(original);
        let last = nest.rsplit('/').next().unwrap_or_default();
        if own == "/" {
            // `./` keeps a colon in the segment from looking like a scheme. A browser that is at
            // `/status` takes `/` for the folder, and one at `/status/` does not.
            let last = original.rsplit('/').next().unwrap_or_default();
            let folder = match last {
                "" => "./".to_owned(),
                last => format!("./{last}/"),
            };
            let home = format!("./{last}");
            return Self { folder, home };
        }
        let up = "../".repeat(own.matches('/').count().saturating_sub(1));
        let home = match last {
            "" => format!("./{up}"),
            last => format!("{up}../{last}"),
        };
        Self {
            folder: format!("./{up}"),
            home,
        }
    }
}

impl fmt::Display for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_the_other_pages_wherever_they_are_nested() {
        for (own, original, folder, home) in [
            ("/", "/", "./", "./"),
            ("/", "/status", "./status/", "./status"),
            ("/", "/ops/a:b", "./a:b/", "./a:b"),
            ("/", "/ops/status/", "./", "./"),
            ("/sessions", "/sessions", "./", "./"),
            ("/sessions", "/ops/status/sessions", "./", "../status"),
            ("/sessions/a", "/status/sessions/a", "./../", "../../status"),
            ("/sessions/a/end", "/sessions/a/end", "./../../", "./../../"),
        ] {
            let links = Links::of(&Uri::from_static(own), &Uri::from_static(original));
            assert_eq!(links.to_string(), folder, "{original}");
            assert_eq!(links.home, home, "{original}");
        }
    }
}
