//! The service principals that the built-in issuer knows.
//!
//! They lie in `accounts.json` in the issuer's folder, readable by its owner only:
//!
//! ```json
//! {"accounts": [{"clientId": "…", "objectId": "…", "displayName": "ADMIN", "enabled": true, "secret": "…"}]}
//! ```
//!
//! **Secrets are kept in one of two ways.** Accounts that `dev` makes keep the secret itself, in `secret`, because
//! `dev` prints it at each start; whoever can read this file can also read the signing key beside it and needs no
//! secret. All other accounts keep `secretHash`, the SHA-256 of salt and secret. A fast hash is enough: every secret is
//! 256 random bits made here, none is ever chosen by a person, so there is nothing to guess.

use std::fmt;
use std::path::Path;

use aws_lc_rs::{constant_time, digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::files::{self, FileError};

/// A client secret: 43 characters of the base64url alphabet, 256 random bits.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    fn generate() -> Option<Self> {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).ok()?;
        Some(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// The secret, to be shown to its owner and to nobody else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// One that a test can foretell.
    #[cfg(test)]
    pub(crate) fn known(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One service principal.
#[derive(Debug)]
pub struct Account {
    client_id: Uuid,
    object_id: Uuid,
    display_name: String,
    enabled: bool,
    secret: Kept,
}

#[derive(Debug)]
enum Kept {
    Itself(Secret),
    Hash { salt: [u8; 16], sha256: [u8; 32] },
}

impl Account {
    /// What it logs in with: claims `appid` and `azp`.
    #[must_use]
    pub fn client_id(&self) -> Uuid {
        self.client_id
    }

    /// What roles are assigned to: claim `oid`.
    #[must_use]
    pub fn object_id(&self) -> Uuid {
        self.object_id
    }

    /// The name it was made under.
    #[must_use]
    pub fn display_name(&self) -> &str {
        &self.display_name
    }

    /// The secret, where it is kept to be shown again.
    #[must_use]
    pub fn secret(&self) -> Option<&Secret> {
        match &self.secret {
            Kept::Itself(secret) => Some(secret),
            Kept::Hash { .. } => None,
        }
    }

    /// Whether it may log in.
    pub(super) fn enabled(&self) -> bool {
        self.enabled
    }

    /// Compares in constant time: digests of equal length, whatever the lengths of the secrets.
    pub(super) fn has_secret(&self, given: &str) -> bool {
        let (salt, expected) = match &self.secret {
            Kept::Itself(secret) => ([0; 16], salted([0; 16], secret.reveal())),
            Kept::Hash { salt, sha256 } => (*salt, *sha256),
        };
        constant_time::verify_slices_are_equal(&salted(salt, given), &expected).is_ok()
    }
}

/// All service principals, as they were when the server started.
#[derive(Debug)]
pub struct Accounts(Vec<Account>);

impl Accounts {
    /// The accounts kept in `folder`, those of `names` made where they are missing and their secrets kept to be shown
    /// again: for `dev`. Ids and secrets stay the same over restarts, so that clients stay logged in and configured.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn load_or_create(folder: &Path, names: &[&str]) -> Result<Self, FileError> {
        Self::open(folder, names, |secret| Some(Kept::Itself(secret.clone()))).map(|(accounts, _)| accounts)
    }

    /// As [`Accounts::load_or_create`], but only hashes are kept: the secrets of accounts made just now are returned by
    /// client id, to be shown this once.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn load_or_create_hashed(folder: &Path, names: &[&str]) -> Result<(Self, Vec<(Uuid, Secret)>), FileError> {
        Self::open(folder, names, |secret| {
            let mut salt = [0; 16];
            rand::fill(&mut salt).ok()?;
            Some(Kept::Hash { salt, sha256: salted(salt, secret.reveal()) })
        })
    }

    fn open(
        folder: &Path,
        names: &[&str],
        keep: impl Fn(&Secret) -> Option<Kept>,
    ) -> Result<(Self, Vec<(Uuid, Secret)>), FileError> {
        let path = folder.join("accounts.json");
        let broken = || FileError::Malformed(path.clone());
        let failed = || FileError::Generation(path.clone());
        let mut accounts = match files::read(&path)? {
            Some(json) => Self::parse(&json).ok_or_else(broken)?,
            None => Self(Vec::new()),
        };
        let mut made = Vec::new();
        for name in names {
            if accounts.0.iter().any(|account| account.display_name == *name) {
                continue;
            }
            let secret = Secret::generate().ok_or_else(failed)?;
            let account = Account {
                client_id: Uuid::new_v4(),
                object_id: Uuid::new_v4(),
                display_name: (*name).to_owned(),
                enabled: true,
                secret: keep(&secret).ok_or_else(failed)?,
            };
            made.push((account.client_id, secret));
            accounts.0.push(account);
        }
        if !made.is_empty() {
            files::replace(&path, &accounts.to_json().ok_or_else(broken)?)?;
        }
        Ok((accounts, made))
    }

    /// All of them, in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = &Account> {
        self.0.iter()
    }

    pub(super) fn find(&self, client_id: &str) -> Option<&Account> {
        let client_id = Uuid::try_parse(client_id).ok()?;
        self.0.iter().find(|account| account.client_id == client_id)
    }

    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        let file: AccountsFile = serde_json::from_slice(json).ok()?;
        let accounts: Option<Vec<Account>> = file.accounts.into_iter().map(StoredAccount::into_account).collect();
        let accounts = accounts?;
        let unique = |id: fn(&Account) -> Uuid| {
            let ids: std::collections::BTreeSet<Uuid> = accounts.iter().map(id).collect();
            ids.len() == accounts.len()
        };
        (unique(Account::client_id) && unique(Account::object_id)).then_some(Self(accounts))
    }

    pub(super) fn to_json(&self) -> Option<Vec<u8>> {
        let accounts = self.0.iter().map(StoredAccount::from_account).collect();
        serde_json::to_vec_pretty(&AccountsFile { accounts }).ok()
    }
}

fn salted(salt: [u8; 16], secret: &str) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&salt);
    context.update(secret.as_bytes());
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct AccountsFile {
    accounts: Vec<StoredAccount>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct StoredAccount {
    client_id: Uuid,
    object_id: Uuid,
    display_name: String,
    enabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_hash: Option<StoredHash>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredHash {
    /// base64url.
    salt: String,
    /// base64url.
    sha256: String,
}

impl StoredAccount {
    fn into_account(self) -> Option<Account> {
        let secret = match (self.secret, self.secret_hash) {
            // An empty secret would let everybody in.
            (Some(secret), None) if secret.len() >= 32 => Kept::Itself(Secret(secret)),
            (None, Some(hash)) => Kept::Hash { salt: decoded(&hash.salt)?, sha256: decoded(&hash.sha256)? },
            _ => return None,
        };
        let Self { client_id, object_id, display_name, enabled, .. } = self;
        Some(Account { client_id, object_id, display_name, enabled, secret })
    }

    fn from_account(account: &Account) -> Self {
        let (secret, secret_hash) = match &account.secret {
            Kept::Itself(secret) => (Some(secret.reveal().to_owned()), None),
            Kept::Hash { salt, sha256 } => {
                let encoded = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
                (None, Some(StoredHash { salt: encoded(salt), sha256: encoded(sha256) }))
            }
        };
        Self {
            client_id: account.client_id,
            object_id: account.object_id,
            display_name: account.display_name.clone(),
            enabled: account.enabled,
            secret,
            secret_hash,
        }
    }
}

fn decoded<const N: usize>(text: &str) -> Option<[u8; N]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 2] = ["ADMIN", "USER"];

    #[test]
    fn ready_accounts_keep_their_ids_and_secrets_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let shown = |accounts: &Accounts| -> Vec<_> {
            let one = |account: &Account| {
                (account.client_id(), account.object_id(), account.secret().unwrap().reveal().to_owned())
            };
            accounts.iter().map(one).collect()
        };
        let first = shown(&Accounts::load_or_create(folder.path(), &NAMES).unwrap());
        let again = shown(&Accounts::load_or_create(folder.path(), &["ADMIN", "USER", "AUDITOR"]).unwrap());
        assert_eq!(first[..], again[..2]);
        assert_eq!(again.len(), 3);
        let ids: std::collections::BTreeSet<_> = again.iter().flat_map(|(a, b, _)| [*a, *b]).collect();
        assert_eq!(ids.len(), 6, "no id is used twice");
    }

    #[test]
    fn a_hashed_account_does_not_leave_its_secret_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (_, made) = Accounts::load_or_create_hashed(folder.path(), &["CI"]).unwrap();
        let [(client_id, secret)] = &made[..] else { panic!() };
        let (accounts, again) = Accounts::load_or_create_hashed(folder.path(), &["CI"]).unwrap();
        assert!(again.is_empty());
        let account = accounts.find(&client_id.to_string()).unwrap();
        assert!(account.secret().is_none());
        assert!(account.has_secret(secret.reveal()));
        assert!(!account.has_secret(&secret.reveal()[1..]));
        let file = std::fs::read_to_string(folder.path().join("accounts.json")).unwrap();
        assert!(!file.contains(secret.reveal()));
    }

    #[test]
    fn only_the_whole_secret_is_the_secret() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = Accounts::load_or_create(folder.path(), &NAMES).unwrap();
        let all: Vec<&Account> = accounts.iter().collect();
        let secret = all[0].secret().unwrap().reveal();
        assert!(all[0].has_secret(secret));
        for bad in ["", &secret[..42], &format!("{secret}x"), &secret.to_uppercase(), all[1].secret().unwrap().reveal()]
        {
            assert!(!all[0].has_secret(bad));
        }
    }

    #[test]
    fn a_secret_does_not_show_in_debug_output() {
        let folder = tempfile::tempdir().unwrap();
        let accounts = Accounts::load_or_create(folder.path(), &NAMES).unwrap();
        let shown = format!("{accounts:?}");
        for account in accounts.iter() {
            assert!(!shown.contains(account.secret().unwrap().reveal()));
        }
    }

    #[test]
    fn a_file_with_a_weak_missing_or_repeated_credential_is_refused() {
        let account = |id: u8, rest: &str| {
            let (client, object) = (Uuid::from_bytes([id; 16]), Uuid::from_bytes([id + 100; 16]));
            format!(r#"{{"clientId":"{client}","objectId":"{object}","displayName":"A","enabled":true{rest}}}"#)
        };
        let strong = format!(r#","secret":"{}""#, "s".repeat(43));
        let file = |accounts: &[String]| {
            Accounts::parse(format!(r#"{{"accounts":[{}]}}"#, accounts.join(",")).as_bytes()).is_some()
        };
        assert!(file(&[account(1, &strong), account(2, &strong)]));
        assert!(!file(&[account(1, &strong), account(1, &strong)]));
        for bad in
            ["", r#","secret":"""#, r#","secret":"short""#, r#","secretHash":{"salt":"","sha256":""}"#, r#","x":1"#]
        {
            assert!(!file(&[account(1, bad)]), "{bad}");
        }
    }
}
