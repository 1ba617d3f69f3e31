//! Keeping the keys of the issuers fresh, and authenticating tokens with them.
//!
//! [`IssuerKeys`] runs one task per issuer whose keys are fetched. The task alone decides when to fetch: at its start,
//! every few minutes, and when somebody met a token with an unknown key id, but never twice within half a minute. What
//! it finds is published for all readers at once; readers never wait for it. [`Authenticator`] is the reader: it
//! verifies tokens for one audience and remembers those that it has verified.
//!
//! Keys of an issuer that cannot be reached stay valid for a day, so that an outage there is none here. A fetched set
//! replaces the former one whole, even by nothing: a key that an issuer withdraws is worthless here within ten minutes,
//! and so is every token it has signed, remembered or not.
//!
//! Source: design, "Identity and access"; OpenID Connect Discovery 1.0 §4.

mod authenticator;
mod fetch;
mod outgoing;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use identity::{AmbiguousIssuer, Issuer, Issuers, KeySet};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use url::Url;

pub use authenticator::{AuthError, Authenticator};
pub use fetch::{FetchError, metadata_address};
pub use outgoing::{Loopback, Outgoing, OutgoingError};

/// An issuer to trust, and where its keys come from.
#[derive(Clone, Debug)]
pub struct TrustedIssuer {
    /// The `iss` values it writes.
    pub names: Vec<String>,
    /// The `tid` values it may speak for.
    pub tenants: Vec<String>,
    /// Keys that are valid whatever the issuer publishes. Where an id is in both sets, this one counts.
    pub pinned: KeySet,
    /// Its metadata document, see [`metadata_address`]; `None` where the pinned keys are all there are.
    pub metadata: Option<Url>,
}

/// When keys are fetched and for how long they are kept.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// From one successful fetch to the next. Half of the ten minutes that are promised, so that one fetch may fail.
    refresh: Duration,
    /// From a failed fetch to the next, and the least time between two fetches for unknown keys.
    pause: Duration,
    /// For how long after the last successful fetch its keys count.
    keep: Duration,
}

const TIMING: Timing = Timing {
    refresh: Duration::from_secs(5 * 60),
    pause: Duration::from_secs(30),
    keep: Duration::from_secs(24 * 60 * 60),
};

/// How many callers may wait for one fetch. More are told at once that their key is unknown.
const MAX_WAITING: usize = 256;

/// What became of a wish for fresh keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refresh {
    /// The keys are as fresh as we ask for them: look again.
    Fresh,
    /// The issuer could not be asked the last time, or nobody is free to ask.
    Unreachable,
    /// This issuer's keys are not fetched.
    Pinned,
}

/// All trusted issuers with their keys as last fetched. Dropping it ends its tasks.
pub struct IssuerKeys {
    current: Arc<ArcSwap<Issuers>>,
    /// In the order of the issuers; `None` for those that are not fetched.
    keepers: Vec<Option<mpsc::Sender<oneshot::Sender<Refresh>>>>,
}

impl IssuerKeys {
    /// Starts fetching, in tasks on the current tokio runtime, and returns without waiting for the first answers.
    ///
    /// # Errors
    /// [`AmbiguousIssuer`] if two of `trusted` have a name in common.
    pub fn start(trusted: Vec<TrustedIssuer>, outgoing: &Arc<Outgoing>) -> Result<Arc<Self>, AmbiguousIssuer> {
        Self::start_with(trusted, outgoing, TIMING)
    }

    fn start_with(
        trusted: Vec<TrustedIssuer>,
        outgoing: &Arc<Outgoing>,
        timing: Timing,
    ) -> Result<Arc<Self>, AmbiguousIssuer> {
        let as_pinned = |one: &TrustedIssuer| {
            let (names, tenants) = (one.names.iter().map(String::as_str), one.tenants.iter().map(String::as_str));
            Issuer::new(names, tenants, one.pinned.clone())
        };
        let issuers = Issuers::new(trusted.iter().map(as_pinned).collect())?;
        let current = Arc::new(ArcSwap::from_pointee(issuers));
        let keeper = |(index, one): (usize, TrustedIssuer)| {
            let TrustedIssuer { names, pinned, metadata, .. } = one;
            let (ask, asks) = mpsc::channel(MAX_WAITING);
            let (current, outgoing) = (current.clone(), outgoing.clone());
            let keeper = Keeper { index, names, pinned, metadata: metadata?, timing, current, outgoing };
            tokio::spawn(keeper.run(asks));
            Some(ask)
        };
        let keepers = trusted.into_iter().enumerate().map(keeper).collect();
        Ok(Arc::new(Self { current, keepers }))
    }

    /// The issuers with their keys as of now.
    #[must_use]
    pub fn current(&self) -> Arc<Issuers> {
        self.current.load_full()
    }

    /// Asks for the keys of the issuer of that `iss` again, because a token named one that is not known, and waits for
    /// the outcome. All who ask at the same time share one fetch.
    pub async fn refresh(&self, issuer: &str) -> Refresh {
        let index = self.current.load().find(issuer).map(|(index, _)| index);
        let Some(ask) = index.and_then(|index| self.keepers.get(index)?.as_ref()) else { return Refresh::Pinned };
        let (reply, answer) = oneshot::channel();
        match ask.try_send(reply) {
            Ok(()) => answer.await.unwrap_or(Refresh::Unreachable),
            Err(_) => Refresh::Unreachable,
        }
    }
}

/// The task that keeps one issuer's keys.
struct Keeper {
    index: usize,
    names: Vec<String>,
    pinned: KeySet,
    metadata: Url,
    timing: Timing,
    current: Arc<ArcSwap<Issuers>>,
    outgoing: Arc<Outgoing>,
}

impl Keeper {
    async fn run(self, mut asks: mpsc::Receiver<oneshot::Sender<Refresh>>) {
        let mut fetched = None;
        let mut asked_by: Option<oneshot::Sender<Refresh>> = None;
        loop {
            let outcome = self.fetch(&mut fetched).await;
            if let Some(reply) = asked_by.take() {
                let _ = reply.send(outcome); // Whoever asked may be gone.
            }
            let attempted = Instant::now();
            let wait = if outcome == Refresh::Fresh { self.timing.refresh } else { self.timing.pause };
            let next = tokio::time::sleep_until(attempted + wait);
            tokio::pin!(next);
            asked_by = loop {
                tokio::select! {
                    () = &mut next => break None,
                    ask = asks.recv() => match ask {
                        None => return,
                        // Too soon to fetch again; this is also the answer to those who asked during the fetch.
                        Some(reply) if attempted.elapsed() < self.timing.pause => {
                            let _ = reply.send(outcome);
                        }
                        Some(reply) => break Some(reply),
                    },
                }
            };
        }
    }

    /// Fetches once and publishes the outcome. `fetched` is when it last succeeded.
    async fn fetch(&self, fetched: &mut Option<Instant>) -> Refresh {
        match fetch::key_set(&self.outgoing, &self.metadata, &self.names).await {
            Ok(keys) => {
                if keys.is_empty() {
                    tracing::warn!(issuer = %self.metadata, "the issuer publishes no key that can be used");
                }
                *fetched = Some(Instant::now());
                self.publish(&keys);
                Refresh::Fresh
            }
            Err(error) => {
                tracing::warn!(issuer = %self.metadata, error = &error as &dyn std::error::Error, "keys not fetched");
                if fetched.is_some_and(|at| at.elapsed() > self.timing.keep) {
                    *fetched = None;
                    self.publish(&KeySet::default());
                }
                Refresh::Unreachable
            }
        }
    }

    fn publish(&self, fetched: &KeySet) {
        let keys = self.pinned.clone().with(fetched);
        self.current.rcu(|issuers| issuers.with_keys(self.index, keys.clone()));
    }
}

/// See [`crate::fuzzing::issuer_documents`].
pub(crate) fn fuzz(document: &[u8]) {
    let names = ["https://issuer.example/v2.0".to_owned()];
    let _ = fetch::keys_address(document, &names);
    let _ = KeySet::parse_jwks(document);
    let _ = metadata_address(&String::from_utf8_lossy(document));
}

#[cfg(test)]
mod tests;
