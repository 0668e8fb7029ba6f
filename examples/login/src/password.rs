//! Passwords: hashed by Argon2id, on threads that may block, a few at a time.

use std::{fmt, sync::Arc, thread::available_parallelism};

use argon2::{Argon2, PasswordHasher as _, PasswordVerifier as _, password_hash};
use serde::Deserialize;
use tokio::{
    sync::{AcquireError, Semaphore},
    task::{JoinError, spawn_blocking},
};

/// What a user types. It is in no log.
#[derive(Clone, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub(crate) struct Password(String);

impl Password {
    /// Returns whether it is long enough to be chosen. Length is what NIST's SP 800-63B asks for, and
    /// no mixture of letters and digits.
    pub(crate) fn is_long_enough(&self) -> bool {
        self.0.chars().count() >= Self::LEAST_CHARS
    }

    pub(crate) const LEAST_CHARS: usize = 12;
}

impl From<&str> for Password {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

/// Hashes passwords. Each hash takes 19 MiB, so there are as many at a time as processors. Cheap to
/// clone.
#[derive(Clone, Debug)]
pub(crate) struct Hasher {
    permits: Arc<Semaphore>,
}

impl Hasher {
    pub(crate) fn new() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        Self {
            permits: Arc::new(Semaphore::new(processors)),
        }
    }

    /// Returns the text to be stored of a password.
    pub(crate) async fn hash(&self, password: Password) -> Result<String, HashError> {
        self.run(move || {
            let hash = Argon2::default().hash_password(password.0.as_bytes())?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Returns whether a password is the one of which this text was stored. Without a text it is not,
    /// and takes as long to say so: time tells nobody which users there are.
    pub(crate) async fn is_right(
        &self,
        password: Password,
        stored: Option<String>,
    ) -> Result<bool, HashError> {
        self.run(move || {
            let hash = stored.as_deref().unwrap_or(NOBODYS);
            match Argon2::default().verify_password(password.0.as_bytes(), hash) {
                Ok(()) => Ok(stored.is_some()),
                Err(password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await?;
        let done = spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await?
    }
}

/// Why a password cannot be hashed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HashError {
    #[error("a password cannot be hashed: {0}")]
    Hash(#[from] password_hash::Error),
    #[error("hashing has ended: {0}")]
    Ended(#[from] AcquireError),
    #[error("hashing did not end: {0}")]
    Task(#[from] JoinError),
}

/// A hash with the parameters of the others, of something that was thrown away.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXRoaW5nIHNhbHR5$\
                       PBDyb8HUv8OLgcCi0FTdTPS8NCtAM8CiF+0Xr0NVn8o";
