//! The module's keys as the audit logs use them; the keys themselves stay in the module.

use std::sync::Arc;

use audit::{SignError, Signer};
use crypto_module::{JournalKey, LogKey};

/// Signs the checkpoints of one log.
pub struct PoolLogKey(pub Arc<dyn LogKey>);

impl Signer for PoolLogKey {
    fn public_key(&self) -> [u8; 32] {
        self.0.public_key()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        Ok(self.0.sign(message))
    }
}

/// Authenticates the journal of one node.
pub struct NodeJournalKey(pub JournalKey);

impl audit::JournalKey for NodeJournalKey {
    fn tag(&self, digest: &[u8; 32]) -> [u8; 32] {
        self.0.tag(digest)
    }
}
