//! The one configuration file of `strongroom serve`.
//!
//! `config/defaults.toml` is the one table of defaults, and what `--print-config` prints. A file is laid over it, and
//! every pool over `pool_defaults`; then the whole is read strictly: an unknown setting anywhere is an error.
//! Durations and sizes have units, secrets are given by path only.

mod units;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::deleted_keys::{PurgeProtection, Retention};
use model::{Days, PoolName, PrincipalId};
use serde::{Deserialize, Deserializer};
use toml::{Table, Value};
use url::Url;
use uuid::Uuid;

use crate::edge;
use units::{duration, size};

const DEFAULTS: &str = include_str!("config/defaults.toml");

/// The commented default file.
#[must_use]
pub fn print_config() -> &'static str {
    DEFAULTS
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not TOML, has an unknown setting, or a value of the wrong kind.
    #[error("the configuration is not valid: {0}")]
    Invalid(#[from] toml::de::Error),
    /// Values that are fine alone do not go together.
    #[error("the configuration is not valid: {0}")]
    Inconsistent(&'static str),
}

/// All settings.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// The port that clients use, where it is not one listened on.
    public_port: Option<u16>,
    /// This node's name.
    #[serde(deserialize_with = "node")]
    pub node: String,
    /// What answers name as the region.
    pub region: String,
    /// Where clients without a token are sent, if not to the built-in or first issuer.
    authority: Option<Url>,
    /// The domain under which all hosts lie, lower case.
    #[serde(deserialize_with = "domain")]
    pub domain: String,
    /// The data folder.
    pub data_folder: PathBuf,
    /// The owner's socket; by default in the data folder.
    control_socket: Option<PathBuf>,
    /// Certificate files.
    pub tls: Tls,
    /// Protection of the root keys.
    pub seal: Seal,
    /// The built-in issuer.
    pub issuer: BuiltInIssuer,
    /// Issuers to trust, by the operator's own name for them.
    pub issuers: BTreeMap<String, TrustedIssuer>,
    /// Connections that the server makes.
    pub outgoing: Outgoing,
    /// What pools start from; checked like a pool, used only while reading.
    #[serde(rename = "pool_defaults")]
    _pool_defaults: Pool,
    /// Pools by name.
    #[serde(deserialize_with = "pools")]
    pub pools: BTreeMap<PoolName, Pool>,
    /// Audit logs.
    pub audit: Audit,
    /// The cryptographic module.
    pub module: Module,
    /// What a client may take.
    limits: Limits,
    /// Logging.
    pub log: Log,
}

/// `[tls]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificate chain, leaf first.
    pub certificate: PathBuf,
    /// The leaf's private key.
    pub key: PathBuf,
}

/// `[seal]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Seal {
    /// A file with a random key.
    KeyFile {
        /// Where.
        key_file: PathBuf,
    },
}

/// `[issuer]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BuiltInIssuer {
    /// Whether it answers.
    pub enabled: bool,
}

/// `[issuers.<name>]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedIssuer {
    /// Claim `iss` of its tokens.
    pub issuer: Url,
    /// Values of claim `tid` that it may speak for.
    pub tenants: Vec<Uuid>,
    /// Its metadata document; by default the issuer's address followed by `/.well-known/openid-configuration`.
    pub metadata: Option<Url>,
    /// A JWK set that is valid whatever the issuer publishes.
    pub keys_file: Option<PathBuf>,
    /// Whether to fetch keys.
    #[serde(default = "yes")]
    pub fetch_keys: bool,
}

fn yes() -> bool {
    true
}

/// `[outgoing]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outgoing {
    /// PEM files with further authorities.
    pub trust_ca: Vec<PathBuf>,
    /// Whether destinations may be on this machine.
    pub allow_loopback: bool,
}

/// `[pools.<name>]`
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// The tenant whose tokens it takes.
    pub tenant: Uuid,
    /// First administrators.
    #[serde(deserialize_with = "principals")]
    pub administrators: Vec<PrincipalId>,
    /// How long deleted keys can be recovered.
    #[serde(rename = "retention_days", deserialize_with = "retention")]
    pub retention: Retention,
    /// Whether they can be purged before that.
    #[serde(deserialize_with = "purge_protection")]
    pub purge_protection: PurgeProtection,
    /// Keys, deleted ones included.
    pub max_keys: usize,
    /// Versions of one key.
    #[serde(deserialize_with = "versions")]
    pub max_versions_per_key: usize,
    /// Custom role definitions.
    pub max_role_definitions: usize,
    /// Role assignments at `/`, and again at `/keys`.
    pub max_role_assignments: usize,
    /// Role assignments at one key.
    pub max_role_assignments_per_key: usize,
    /// Role assignments in all.
    pub max_role_assignments_in_all: usize,
    /// RSA keys that one principal may have in the making.
    pub max_keys_in_making_per_principal: usize,
}

/// `[audit]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// Bytes that all logs may take.
    #[serde(deserialize_with = "size")]
    pub max_size: u64,
    /// Bytes of it for authenticated requests alone.
    #[serde(deserialize_with = "size")]
    pub reserve: u64,
    /// Bytes that are left free on the disk.
    #[serde(deserialize_with = "size")]
    pub min_free: u64,
    /// How long records stand unsigned.
    #[serde(deserialize_with = "duration")]
    pub checkpoint_interval: Duration,
    /// Whether a log that has lost records is gone on with.
    pub danger_accept_lost_log: bool,
}

/// `[module]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Threads for long arithmetic; 0: one per core.
    workers: usize,
    /// Requests that may wait for them.
    pub queue: usize,
    /// Key generations that may wait.
    pub generation_queue: usize,
    /// Bytes for opened keys.
    #[serde(deserialize_with = "size")]
    pub cache: u64,
    /// RSA keys of each size made ahead of need.
    pub rsa_stock: usize,
}

impl Module {
    /// Threads for long arithmetic, at least one.
    #[must_use]
    pub fn workers(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            set => set,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    connections: usize,
    connections_per_source: usize,
    handshakes_per_source: usize,
    #[serde(deserialize_with = "duration")]
    handshake_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    header_timeout: Duration,
    #[serde(deserialize_with = "size")]
    header_size: u64,
    #[serde(deserialize_with = "duration")]
    body_timeout: Duration,
    #[serde(deserialize_with = "size")]
    body_size: u64,
    #[serde(deserialize_with = "duration")]
    idle_timeout: Duration,
    http2_streams: u32,
    #[serde(deserialize_with = "duration")]
    shutdown_grace: Duration,
}

/// `[log]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// What to log, as `tracing` filters are written.
    pub level: String,
    /// How.
    pub format: LogFormat,
}

/// `log.format`
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] or [`ConfigError::Inconsistent`].
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let mut whole: Table = DEFAULTS.parse()?;
        lay_over(&mut whole, text.parse()?);
        if let (Some(Value::Table(defaults)), Some(Value::Table(mut pools))) =
            (whole.get("pool_defaults").cloned(), whole.remove("pools"))
        {
            for (_, pool) in &mut pools {
                if let Value::Table(own) = pool {
                    let mut full = defaults.clone();
                    lay_over(&mut full, std::mem::take(own));
                    *own = full;
                }
            }
            whole.insert("pools".to_owned(), Value::Table(pools));
        }
        let config = Self::deserialize(whole)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let limits = &self.limits;
        let faults = [
            (self.listen.is_empty(), "listen names no address"),
            (limits.connections == 0 || limits.connections_per_source == 0, "limits.connections allow nobody in"),
            (limits.http2_streams == 0, "limits.http2_streams allows no request"),
            (!(4096..=1 << 20).contains(&limits.header_size), "limits.header_size is not between 4KiB and 1MiB"),
            (!(1024..=1 << 30).contains(&limits.body_size), "limits.body_size is not between 1KiB and 1GiB"),
            (self.audit.reserve >= self.audit.max_size, "audit.reserve is not smaller than audit.max_size"),
            (
                self.module.queue == 0 || self.module.generation_queue == 0,
                "module.queue and generation_queue cannot be 0",
            ),
            (self.pools.values().any(|pool| pool.tenant.is_nil()), "a pool has no tenant"),
            (self.pools.values().any(|pool| pool.administrators.is_empty()), "a pool has no administrators"),
            (self.issuers.values().any(|issuer| issuer.tenants.is_empty()), "an issuer has no tenants"),
            (
                self.issuers.values().any(|issuer| !issuer.fetch_keys && issuer.keys_file.is_none()),
                "an issuer has neither keys_file nor fetch_keys",
            ),
        ];
        match faults.into_iter().find(|(wrong, _)| *wrong) {
            Some((_, what)) => Err(ConfigError::Inconsistent(what)),
            None => Ok(()),
        }
    }

    /// Where the owner's socket is.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.control_socket.clone().unwrap_or_else(|| self.data_folder.join("control.sock"))
    }

    /// The ports that clients use: the public one, or those listened on.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        match self.public_port {
            Some(port) => vec![port],
            None => self.listen.iter().map(SocketAddr::port).collect(),
        }
    }

    /// Where clients without a token are sent, without a slash at its end; `None` for the built-in issuer.
    #[must_use]
    pub fn authority(&self) -> Option<String> {
        let first = || self.issuers.values().next().filter(|_| !self.issuer.enabled).map(|first| &first.issuer);
        self.authority.as_ref().or_else(first).map(|url| url.origin().ascii_serialization())
    }

    /// What a client may take.
    #[must_use]
    pub fn limits(&self) -> edge::Limits {
        let limits = &self.limits;
        let bytes = |size: u64| usize::try_from(size).unwrap_or(usize::MAX);
        edge::Limits {
            connections: limits.connections,
            connections_per_source: limits.connections_per_source,
            handshakes_per_source: limits.handshakes_per_source,
            handshake_timeout: limits.handshake_timeout,
            header_timeout: limits.header_timeout,
            header_bytes: bytes(limits.header_size),
            body_bytes: bytes(limits.body_size),
            body_timeout: limits.body_timeout,
            idle_timeout: limits.idle_timeout,
            http2_streams: limits.http2_streams,
            shutdown_grace: limits.shutdown_grace,
        }
    }
}

fn lay_over(below: &mut Table, above: Table) {
    for (name, value) in above {
        match (below.get_mut(&name), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay_over(below, above),
            (_, value) => {
                below.insert(name, value);
            }
        }
    }
}

fn domain<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 200 && text.split('.').all(label) {
        Ok(text)
    } else {
        Err(serde::de::Error::custom("the domain is not a DNS name in lower case"))
    }
}

fn node<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    let text = String::deserialize(from)?;
    let legal = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if legal && (1..=40).contains(&text.len()) {
        Ok(text)
    } else {
        Err(serde::de::Error::custom("a node's name is 1 to 40 letters, digits and dashes"))
    }
}

/// All versions of a key are named in one stored value.
fn versions<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    const MOST: usize = 10_000;
    let versions = usize::deserialize(from)?;
    if (1..=MOST).contains(&versions) {
        Ok(versions)
    } else {
        Err(serde::de::Error::custom(format!("a key has 1 to {MOST} versions at most")))
    }
}

fn principals<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<PrincipalId>, D::Error> {
    let principal = |text: String| {
        PrincipalId::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} is no object id")))
    };
    Vec::<String>::deserialize(from)?.into_iter().map(principal).collect()
}

fn retention<'de, D: Deserializer<'de>>(from: D) -> Result<Retention, D::Error> {
    Retention::new(Days(u16::deserialize(from)?))
        .ok_or_else(|| serde::de::Error::custom("retention_days is not between 7 and 90"))
}

fn purge_protection<'de, D: Deserializer<'de>>(from: D) -> Result<PurgeProtection, D::Error> {
    Ok(if bool::deserialize(from)? { PurgeProtection::On } else { PurgeProtection::Off })
}

fn pools<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<PoolName, Pool>, D::Error> {
    let pool = |(name, pool): (String, Pool)| {
        let name = PoolName::parse(&name).map_err(|_| serde::de::Error::custom(format!("{name:?} is no pool name")))?;
        Ok((name, pool))
    };
    BTreeMap::<String, Pool>::deserialize(from)?.into_iter().map(pool).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const POOL: &str = r#"
        [pools.finance]
        tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47"
        administrators = ["5BC7E1D4-8e1e-4a0e-9d7a-3d1c1c5a8f10"]
    "#;

    #[test]
    fn the_printed_configuration_parses_back_to_the_defaults() {
        assert_eq!(Config::parse(print_config()).unwrap(), Config::parse("").unwrap());
        assert_eq!(Config::parse("").unwrap().limits(), edge::Limits::default());
    }

    #[test]
    fn every_commented_out_setting_is_a_known_one() {
        let mut uncommented = String::new();
        for line in DEFAULTS.lines() {
            let setting = line.strip_prefix("# ").filter(|rest| {
                rest.contains(" = \"") || rest.contains(" = 4") || rest.contains(" = [\"") || rest.starts_with('[')
            });
            uncommented += setting.unwrap_or(line);
            uncommented.push('\n');
        }
        let config = Config::parse(&uncommented).unwrap_or_else(|error| panic!("{error}\n{uncommented}"));
        assert_eq!((config.pools.len(), config.issuers.len()), (1, 1));
    }

    #[test]
    fn a_pool_starts_from_the_pool_defaults() {
        let text = format!("[pool_defaults]\nretention_days = 30\n{POOL}");
        let config = Config::parse(&text).unwrap();
        let pool = &config.pools[&PoolName::parse("finance").unwrap()];
        assert_eq!(pool.retention.days(), Days(30));
        assert_eq!(pool.max_keys, 5000);
        assert_eq!(pool.administrators[0].as_str(), "5bc7e1d4-8e1e-4a0e-9d7a-3d1c1c5a8f10");
    }

    #[test]
    fn unknown_settings_are_refused_wherever_they_stand() {
        for text in [
            "unknown = 1".to_owned(),
            "[limits]\nunknown = 1".to_owned(),
            "[unknown]\na = 1".to_owned(),
            format!("{POOL}\nunknown = 1"),
            "[seal]\nunknown = 1".to_owned(),
        ] {
            let error = Config::parse(&text).expect_err(&text);
            assert!(error.to_string().contains("unknown"), "{error}");
        }
    }

    #[test]
    fn values_of_the_wrong_kind_or_size_are_refused() {
        for text in [
            "listen = []",
            "listen = [\"nowhere\"]",
            "domain = \"Example.org\"",
            "domain = \"a..b\"",
            "[limits]\nbody_timeout = 20",
            "[limits]\nbody_timeout = \"20\"",
            "[limits]\nbody_size = \"1 elephant\"",
            "[limits]\nconnections = -1",
            "[limits]\nhttp2_streams = 0",
            "[pools.x]\ntenant = \"72f988bf-86f1-41af-91ab-2d7cd011db47\"",
            "[pools.finance]\nadministrators = [\"a\"]",
            "[pool_defaults]\nretention_days = 6",
            "[pool_defaults]\nmax_versions_per_key = 10001",
            "[seal]\nkind = \"hope\"",
            "[issuers.a]\nissuer = \"https://a\"\ntenants = [\"72f988bf-86f1-41af-91ab-2d7cd011db47\"]\nfetch_keys = false",
            "[audit]\nmax_size = \"1MiB\"",
            "node = \"a/b\"",
        ] {
            assert!(Config::parse(text).is_err(), "{text}");
        }
    }
}
