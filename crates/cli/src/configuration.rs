//! Which pool, as whom, by which authority: from flags, an environment file, the environment, and the configuration
//! file, in this order. What comes first wins, value by value.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde::Deserialize;
use url::Url;
use wire::urls::BaseUrl;

use crate::error::Error;
use crate::surroundings::{Secret, Surroundings, read_private};

/// The pool and the caller.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Pool and caller")]
pub struct ConnectionArgs {
    /// Address of the pool, such as https://dev.managedhsm.localhost:8443 [env: STRONGROOM_POOL_URL]
    #[arg(long, global = true, value_name = "URL")]
    pool: Option<String>,
    /// Certificate authority to trust beside the system's, in PEM [env: STRONGROOM_CA_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Who issues the token: an https address without the tenant [env: STRONGROOM_AUTHORITY]
    #[arg(long, global = true, value_name = "URL")]
    authority: Option<String>,
    /// Tenant at the authority [env: STRONGROOM_TENANT_ID]
    #[arg(long, global = true, value_name = "ID")]
    tenant: Option<String>,
    /// Application that calls [env: STRONGROOM_CLIENT_ID]
    #[arg(long, global = true, value_name = "ID", conflicts_with = "account")]
    client_id: Option<String>,
    /// File with its secret, or - for standard input [env: STRONGROOM_CLIENT_SECRET, the secret itself]
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "account")]
    client_secret_file: Option<PathBuf>,
    /// One of the ready accounts of a developer's pool: STRONGROOM_<NAME>_CLIENT_ID and _CLIENT_SECRET
    #[arg(long = "as", global = true, value_name = "NAME")]
    account: Option<Account>,
    /// File of NAME=value lines, as `strongroom dev --env-file` writes it
    #[arg(long, global = true, value_name = "FILE")]
    env_file: Option<PathBuf>,
    /// Configuration file, mode 0600 [default: strongroom/config.toml in $XDG_CONFIG_HOME or ~/.config]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Take a token for a resource that is no parent domain of the pool
    #[arg(long, global = true)]
    no_verify_challenge_resource: bool,
    /// How to show the answer
    #[arg(long, global = true, value_name = "FORMAT")]
    output: Option<Format>,
}

/// A ready account of a developer's pool.
#[derive(ValueEnum, Clone, Copy, Debug)]
pub(crate) enum Account {
    /// Administrator: roles and settings
    Admin,
    /// Crypto officer: roles and deleted keys
    Officer,
    /// Crypto user: keys
    User,
    /// Crypto auditor: reads
    Auditor,
    /// No role at all
    Nobody,
}

/// How answers are shown.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// Aligned columns for people
    #[default]
    Table,
    /// The JSON of the service
    Json,
}

/// Everything a connection needs.
#[derive(Debug)]
pub(crate) struct Configuration {
    /// The pool.
    pub(crate) pool: BaseUrl,
    /// A further certificate authority.
    pub(crate) ca_file: Option<PathBuf>,
    /// Who issues tokens, if that is settled: https, no path.
    pub(crate) authority: Option<Url>,
    /// The tenant there, if that is settled.
    pub(crate) tenant: Option<String>,
    /// Who calls.
    pub(crate) client_id: String,
    /// Its secret.
    pub(crate) client_secret: Secret,
    /// Whether the resource of the challenge must be a parent domain of the pool.
    pub(crate) verify_challenge_resource: bool,
    /// How to show the answer.
    pub(crate) output: Format,
}

impl ConnectionArgs {
    /// Gathers the configuration. Of several sources for one value the first that has it counts.
    ///
    /// # Errors
    /// [`Error::Configuration`] naming what is missing or wrong and how to give it; [`Error::Exposed`] for a file with
    /// secrets that others can read.
    pub(crate) fn gather(&self, around: &mut Surroundings<'_>) -> Result<Configuration, Error> {
        let named = match &self.env_file {
            Some(path) => EnvironmentFile::read(path)?,
            None => EnvironmentFile::default(),
        };
        let file = self.config_file(around)?;
        let variable = |around: &Surroundings<'_>, name: &str| named.variable(name).or_else(|| around.variable(name));

        let pool = self.pool.clone().or_else(|| variable(around, "STRONGROOM_POOL_URL")).or(file.pool);
        let pool = pool.ok_or_else(|| missing("address of the pool", "--pool", "STRONGROOM_POOL_URL", "pool"))?;
        let pool = BaseUrl::parse(&pool).ok_or_else(|| {
            Error::Configuration("the address of a pool is https://host or https://host:port, and no more".to_owned())
        })?;

        let authority = self.authority.clone().or_else(|| variable(around, "STRONGROOM_AUTHORITY")).or(file.authority);
        let tenant = self.tenant.clone().or_else(|| variable(around, "STRONGROOM_TENANT_ID")).or(file.tenant);
        if tenant.as_deref().is_some_and(|tenant| !is_tenant(tenant)) {
            return Err(Error::Configuration("a tenant has letters, digits, '-' and '.' only".to_owned()));
        }

        let (id_name, secret_name) = match self.account {
            Some(account) => account.variables(),
            None => ("STRONGROOM_CLIENT_ID".to_owned(), "STRONGROOM_CLIENT_SECRET".to_owned()),
        };
        let (file_id, file_secret) =
            if self.account.is_some() { (None, None) } else { (file.client_id, file.client_secret_file) };
        let client_id = self.client_id.clone().or_else(|| variable(around, &id_name)).or(file_id);
        let client_id = client_id.ok_or_else(|| match self.account {
            Some(_) => {
                Error::Configuration(format!("{id_name} is not set; give the file it stands in with --env-file"))
            }
            None => missing("id of the calling application", "--client-id", "STRONGROOM_CLIENT_ID", "client_id"),
        })?;
        let client_secret = match (&self.client_secret_file, variable(around, &secret_name), file_secret) {
            (Some(path), ..) => around.read_secret(path)?,
            (None, Some(secret), _) => Secret::new(&secret).ok_or_else(no_secret)?,
            (None, None, Some(path)) => around.read_secret(&path)?,
            (None, None, None) => {
                around.ask(&format!("Secret of {client_id}: ")).ok().flatten().ok_or_else(no_secret)?
            }
        };

        Ok(Configuration {
            pool,
            ca_file: self
                .ca_file
                .clone()
                .or_else(|| variable(around, "STRONGROOM_CA_FILE").map(Into::into))
                .or(file.ca_file),
            authority: authority.as_deref().map(parse_authority).transpose()?,
            tenant,
            client_id,
            client_secret,
            verify_challenge_resource: !self.no_verify_challenge_resource
                && file.verify_challenge_resource.unwrap_or(true),
            output: self.output.or(file.output).unwrap_or_default(),
        })
    }

    fn config_file(&self, around: &Surroundings<'_>) -> Result<ConfigurationFile, Error> {
        if let Some(path) = &self.config {
            return ConfigurationFile::read(path);
        }
        let folder = |name: &str| around.variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let folder = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
        match folder.map(|folder| ConfigurationFile::read(&folder.join("strongroom/config.toml"))) {
            None => Ok(ConfigurationFile::default()),
            Some(Err(Error::File { source, .. })) if source.kind() == std::io::ErrorKind::NotFound => {
                Ok(ConfigurationFile::default())
            }
            Some(read) => read,
        }
    }
}

impl Account {
    fn variables(self) -> (String, String) {
        let name = match self {
            Self::Admin => "ADMIN",
            Self::Officer => "OFFICER",
            Self::User => "USER",
            Self::Auditor => "AUDITOR",
            Self::Nobody => "NOBODY",
        };
        (format!("STRONGROOM_{name}_CLIENT_ID"), format!("STRONGROOM_{name}_CLIENT_SECRET"))
    }
}

/// The configuration file. Every member may be left out; an unknown one is refused.
#[derive(Deserialize, Default, Debug)]
#[serde(deny_unknown_fields)]
struct ConfigurationFile {
    pool: Option<String>,
    ca_file: Option<PathBuf>,
    authority: Option<String>,
    tenant: Option<String>,
    client_id: Option<String>,
    client_secret_file: Option<PathBuf>,
    verify_challenge_resource: Option<bool>,
    output: Option<Format>,
}

impl ConfigurationFile {
    fn read(path: &Path) -> Result<Self, Error> {
        Self::parse(&read_private(path)?, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        toml::from_str(text).map_err(|error| {
            // The error's own text repeats the line, in which somebody may have written a secret.
            let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            let rule = if error.message().starts_with("unknown field") {
                "unknown member; known are pool, ca_file, authority, tenant, client_id, client_secret_file, \
                 verify_challenge_resource and output"
            } else {
                "not TOML, or a value of the wrong type"
            };
            Error::Configuration(format!("{}, line {line}: {rule}", path.display()))
        })
    }
}

/// `NAME=value` lines, a value in single quotes as a shell takes it; empty lines and lines that begin with `#` are passed
/// over.
#[derive(Default)]
struct EnvironmentFile(BTreeMap<String, String>);

impl EnvironmentFile {
    fn read(path: &Path) -> Result<Self, Error> {
        Self::parse(&read_private(path)?, path)
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        let pair = |(number, line): (usize, &str)| match line.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), unquoted(value))),
            None => Err(Error::Configuration(format!("{}, line {}: not NAME=value", path.display(), number + 1))),
        };
        lines.map(pair).collect::<Result<_, _>>().map(Self)
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.0.get(name).filter(|value| !value.is_empty()).cloned()
    }
}

/// A value without the single quotes that `strongroom dev` puts around one that a shell would otherwise split.
fn unquoted(value: &str) -> String {
    match value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        Some(inner) => inner.replace(r"'\''", "'"),
        None => value.to_owned(),
    }
}

/// Whether a text may stand as the tenant in the address of a token endpoint.
pub(crate) fn is_tenant(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        && text.bytes().any(|b| b.is_ascii_alphanumeric())
}

fn parse_authority(text: &str) -> Result<Url, Error> {
    let url = BaseUrl::parse(text).and_then(|base| Url::parse(base.as_str()).ok());
    url.ok_or_else(|| {
        Error::Configuration("an authority is https://host or https://host:port, without the tenant".to_owned())
    })
}

/// See [`crate::fuzzing::settings_files`].
pub(crate) fn fuzz(text: &str) {
    let path = Path::new("fuzz");
    if let Err(error) = ConfigurationFile::parse(text, path) {
        assert_eq!(error.line().lines().count(), 1);
    }
    let _ = EnvironmentFile::parse(text, path);
    let _ = parse_authority(text);
    let _ = is_tenant(text);
}

fn missing(what: &str, flag: &str, variable: &str, member: &str) -> Error {
    Error::Configuration(format!("no {what}; give {flag}, {variable} or {member} in the configuration file"))
}

fn no_secret() -> Error {
    Error::Configuration(
        "no client secret; give --client-secret-file, STRONGROOM_CLIENT_SECRET or client_secret_file in the \
         configuration file"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests;
