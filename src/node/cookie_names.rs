//! Which context uses which cookie name on this node.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Cookie names taken by contexts. Two contexts with one cookie name would throw away each other's
/// cookie with every response.
#[derive(Debug, Default)]
pub(super) struct CookieNames {
    /// Guards the names, each with its use and context. A layer is built once per route, so a list is
    /// quick enough.
    taken: Mutex<Vec<ClaimedNames>>,
}

/// One name that is taken.
#[derive(Debug)]
struct ClaimedNames {
    name: Box<str>,
    used: CookieUse,
    by: Arc<str>,
}

/// The content of a context's cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CookieUse {
    /// The session's id.
    Id,
    /// What the client has written.
    Token,
    /// The session's id, in a header field and not in a cookie.
    Header,
}

/// The answer to a layer that wants to use a cookie name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// For the first time on this node.
    New,
    Granted,
    Taken {
        by: Arc<str>,
    },
    TooManyContexts,
}

impl CookieNames {
    /// Claims a name for a context.
    pub(super) fn claim(&self, name: &str, used: CookieUse, context: &Arc<str>) -> Claim {
        let mut taken = self.taken();
        if let Some(held) = taken.iter().find(|held| *held.name == *name) {
            return if held.by == *context && held.used == used {
                Claim::Granted
            } else {
                let by = Arc::clone(&held.by);
                Claim::Taken { by }
            };
        }
        let contexts: BTreeSet<&Arc<str>> = taken.iter().map(|held| &held.by).collect();
        if contexts.len() >= MAX_CONTEXTS && !contexts.contains(context) {
            return Claim::TooManyContexts;
        }
        taken.push(ClaimedNames {
            name: name.into(),
            used,
            by: Arc::clone(context),
        });
        Claim::New
    }

    /// Returns the contexts that have claimed a name.
    pub(super) fn contexts(&self) -> Vec<Arc<str>> {
        let taken = self.taken();
        taken.iter().map(|held| Arc::clone(&held.by)).collect()
    }

    fn taken(&self) -> MutexGuard<'_, Vec<ClaimedNames>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const MAX_CONTEXTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_belongs_to_one_context() {
        let names = CookieNames::default();
        let (shop, forum) = ("shop".into(), "forum".into());
        assert_eq!(names.claim("id", CookieUse::Id, &shop), Claim::New);
        assert_eq!(names.claim("id", CookieUse::Id, &shop), Claim::Granted);
        assert_eq!(
            names.claim("id", CookieUse::Id, &forum),
            Claim::Taken { by: shop }
        );
        assert_eq!(names.claim("other", CookieUse::Id, &forum), Claim::New);
    }

    #[test]
    fn a_name_has_one_use() {
        let names = CookieNames::default();
        let (none, seen) = ("".into(), "seen".into());
        assert_eq!(names.claim("id-seen", CookieUse::Token, &none), Claim::New);
        let taken = Claim::Taken { by: "".into() };
        assert_eq!(names.claim("id-seen", CookieUse::Id, &none), taken);
        assert_eq!(names.claim("id-seen", CookieUse::Id, &seen), taken);
    }

    #[test]
    fn there_are_64_contexts_at_most() {
        let names = CookieNames::default();
        for at in 0..MAX_CONTEXTS {
            let context = format!("c{at}").into();
            assert_eq!(
                names.claim(&format!("id-{at}"), CookieUse::Id, &context),
                Claim::New
            );
        }
        let known = "c0".into();
        assert_eq!(names.claim("another", CookieUse::Id, &known), Claim::New);
        let beyond = "c64".into();
        assert_eq!(
            names.claim("id-64", CookieUse::Id, &beyond),
            Claim::TooManyContexts
        );
    }
}
