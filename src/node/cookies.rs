//! Which context uses which cookie name on this node.

use std::sync::{Arc, Mutex, PoisonError};

/// Cookie names taken by contexts. Two contexts with one cookie name would throw away each other's
/// cookie with every response.
#[derive(Debug, Default)]
pub(super) struct CookieNames {
    /// Guards the pairs of cookie name and context. A layer is built once per route, so a list will
    /// do.
    taken: Mutex<Vec<(Box<str>, Arc<str>)>>,
}

/// The answer to a layer that wants to use a cookie name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    Granted,
    Taken { by: Arc<str> },
    TooManyContexts,
}

impl CookieNames {
    pub(super) fn claim(&self, name: &str, context: &Arc<str>) -> Claim {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, by)) = taken.iter().find(|(held, _)| **held == *name) {
            return if by == context {
                Claim::Granted
            } else {
                Claim::Taken { by: Arc::clone(by) }
            };
        }
        let mut contexts: Vec<&Arc<str>> = taken.iter().map(|(_, context)| context).collect();
        contexts.sort_unstable();
        contexts.dedup();
        if contexts.len() >= MAX_CONTEXTS && !contexts.contains(&context) {
            return Claim::TooManyContexts;
        }
        taken.push((name.into(), Arc::clone(context)));
        Claim::Granted
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
        assert_eq!(names.claim("id", &shop), Claim::Granted);
        assert_eq!(names.claim("id", &shop), Claim::Granted);
        assert_eq!(names.claim("id", &forum), Claim::Taken { by: shop });
        assert_eq!(names.claim("other", &forum), Claim::Granted);
    }

    #[test]
    fn there_are_64_contexts_at_most() {
        let names = CookieNames::default();
        for at in 0..MAX_CONTEXTS {
            let context = format!("c{at}").into();
            assert_eq!(names.claim(&format!("id-{at}"), &context), Claim::Granted);
        }
        let known = "c0".into();
        assert_eq!(names.claim("another", &known), Claim::Granted);
        let beyond = "c64".into();
        assert_eq!(names.claim("id-64", &beyond), Claim::TooManyContexts);
    }
}
