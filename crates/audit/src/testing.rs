//! What several tests of this crate share.

use std::borrow::Cow;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use crate::{Caller, JournalKey, Record, SignError, Signer};

/// A record that differs with `n`.
pub(crate) fn record(n: u64) -> Record {
    Record {
        id: u128::from(n),
        time: 1_700_000_000_000 + i64::try_from(n % 1_000_000).unwrap(),
        pool: "contoso".into(),
        node: "a".into(),
        operation: Cow::Borrowed("KeySign"),
        data_action: Some(Cow::Borrowed("Microsoft.KeyVault/managedHsm/keys/sign/action")),
        caller: Some(Caller {
            principal: "5f0b7a2e-0000-4000-8000-000000000001".into(),
            tenant: "72f988bf-0000-4000-8000-000000000002".into(),
            application: Some("04b07795-0000-4000-8000-000000000003".into()),
            upn: Some("ada@contoso.example".into()),
            token_id: Some("t-1".into()),
            issuer: "https://login.contoso.example/".into(),
        }),
        source: Some("192.0.2.7".parse().unwrap()),
        correlation: Some("c-1".into()),
        request_id: Some(0x1234),
        request: Some("POST /keys/orders/sign".into()),
        user_agent: Some("test".into()),
        scope: Some("/keys/orders".into()),
        key_version: Some(0xabcd),
        algorithm: Some(Cow::Borrowed("ES256")),
        status: 200,
        code: None,
        reason: None,
        duration_us: Some(412),
        change: None,
        count: None,
    }
}

/// A signer with the key that `seed` names.
pub(crate) fn signer(seed: u8) -> Arc<dyn Signer> {
    struct Fixed(Ed25519KeyPair);
    impl Signer for Fixed {
        fn public_key(&self) -> [u8; 32] {
            self.0.public_key().as_ref().try_into().unwrap()
        }

        fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
            Ok(self.0.sign(message).as_ref().try_into().unwrap())
        }
    }
    Arc::new(Fixed(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()))
}

/// A key for the journal, always the same.
pub(crate) fn journal_key() -> Arc<dyn JournalKey> {
    struct Fixed(aws_lc_rs::hmac::Key);
    impl JournalKey for Fixed {
        fn tag(&self, digest: &[u8; 32]) -> [u8; 32] {
            aws_lc_rs::hmac::sign(&self.0, digest).as_ref().try_into().unwrap()
        }
    }
    Arc::new(Fixed(aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[7; 32])))
}
