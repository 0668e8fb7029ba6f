//! Sessions that are found by what they hold, for whoever has no id of them.

use std::{collections::BTreeSet, sync::Arc};

use tokio::task::{spawn_blocking, yield_now};

use super::{orders::resume, sessions::DestroyedBy};
use crate::node::Node;
use crate::{
    replica::Wanted,
    session::{Now, SessionError, SessionInfo, SessionKey, is_of_layer},
};

impl Node {
    /// Describes the sessions of a context in which a name has a value, the one used last first.
    ///
    /// # Errors
    ///
    /// [`SessionError::NotIndexed`] when there is no index of the name.
    pub(crate) async fn find_where(
        &self,
        context: &str,
        name: &str,
        json: &[u8],
    ) -> Result<Vec<SessionInfo>, SessionError> {
        let not_indexed = || SessionError::NotIndexed { name: name.into() };
        let Some(wanted) = Wanted::new(context, name, json) else {
            return Ok(Vec::new());
        };
        let keys = self.replica.candidates(&wanted).ok_or_else(not_indexed)?;
        let mut found = Vec::with_capacity(keys.len());
        for some in keys.chunks(AT_ONCE) {
            if !found.is_empty() {
                // Whoever asks for what most sessions have holds nobody up.
                yield_now().await;
            }
            let now = self.now();
            let infos = some
                .iter()
                .map(|key| self.replica.info_where(&wanted, key, now));
            found.extend(infos.flatten());
        }
        found.sort_by(|one, other| (one.idle, &one.id).cmp(&(other.idle, &other.id)));
        Ok(found)
    }

    /// Describes the next sessions of a context behind a key, in the order of keys.
    pub(crate) async fn page(
        self: &Arc<Self>,
        context: Arc<str>,
        after: Option<SessionKey>,
        most: usize,
    ) -> Vec<(SessionKey, SessionInfo)> {
        let node = Arc::clone(self);
        // Where nearly all sessions are of another context, that is to look at many.
        let paging = spawn_blocking(move || node.replica.page(&context, after, most, node.now()));
        match paging.await {
            Ok(page) => page,
            Err(error) if error.is_panic() => resume(error),
            // The runtime shuts down, which ends this future, too.
            Err(_) => Vec::new(),
        }
    }

    /// Destroys the next sessions beyond the limits of how many may have one value.
    pub(crate) fn end_some_surplus(&self, now: Now) {
        if self.replica.is_crowded() {
            self.end_beyond_limit(&self.replica.surplus(now));
        }
    }

    /// Destroys the sessions that are beyond such a limit since this one was written.
    pub(crate) fn end_surplus_beside(&self, key: &SessionKey, now: Now) {
        if self.replica.is_crowded() {
            self.end_beyond_limit(&self.replica.surplus_beside(key, now));
        }
    }

    fn end_beyond_limit(&self, surplus: &[SessionKey]) {
        // What somebody else was first to destroy is gone as well.
        for key in surplus {
            if self.destroy_for(DestroyedBy::Limit, key).is_ok() {
                self.commit(key);
            }
        }
    }

    /// Returns the contexts of layers and sessions, sorted.
    pub(crate) fn contexts(&self) -> Vec<String> {
        let of_layers = self.requests.cookie_names.contexts();
        let of_sessions = self.replica.contexts();
        let of_sessions = of_sessions
            .into_iter()
            .filter(|context| is_of_layer(context));
        let all: BTreeSet<Arc<str>> = of_layers.into_iter().chain(of_sessions).collect();
        all.iter().map(ToString::to_string).collect()
    }
}

/// Sessions that are looked at before others have their turn.
const AT_ONCE: usize = 64;
