//! `strongroom key`: the keys document from the command line.

mod bundles;
mod der;
mod material;
mod rotation;
mod using;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use model::{Curve, KeyName, KeyOperation, KeyRef, MlDsa};
use reqwest::Method;
use serde_json::{Map, Value, json};
use wire::base64url;
use wire::keys::{DeletedKeyBundle, DeletedKeyItem, KeyBundle, KeyItem, RandomBytes};

use crate::configuration::Format;
use crate::connection::{Answer, Connection};
use crate::error::Error;
use crate::surroundings::{Surroundings, write_private};
use crate::text::{self, Table};
use crate::values::{self, Tag, Time};

use rotation::RotationPolicyCommand;
use using::{DecryptArgs, EncryptArgs, SignArgs, VerifyArgs};

/// Everything that can be done with keys.
#[derive(Subcommand, Debug)]
pub enum KeyCommand {
    /// Make a key, or a new version of one that is there
    Create(CreateArgs),
    /// List the keys
    List,
    /// Show a key version: its attributes and public key
    Show(KeyArg),
    /// List the versions of a key
    Versions(NameArg),
    /// Change attributes, operations or tags of a key version
    Update(UpdateArgs),
    /// Sign a digest or a message
    Sign(SignArgs),
    /// Verify a signature; exit code 1 if it is not good
    Verify(VerifyArgs),
    /// Encrypt a few bytes
    Encrypt(EncryptArgs),
    /// Decrypt what was encrypted
    Decrypt(DecryptArgs),
    /// Wrap another key
    Wrap(EncryptArgs),
    /// Unwrap a wrapped key
    Unwrap(DecryptArgs),
    /// Make a new version as the rotation policy says
    Rotate(NameArg),
    /// Show or change a key's rotation policy
    #[command(subcommand)]
    RotationPolicy(RotationPolicyCommand),
    /// Delete a key with all its versions; it can be recovered for a while
    Delete(NameArg),
    /// List the deleted keys
    ListDeleted,
    /// Show a deleted key
    ShowDeleted(NameArg),
    /// Bring a deleted key back
    Recover(NameArg),
    /// Destroy a deleted key for ever
    Purge(NameArg),
    /// Bring in a key from a PEM or JWK file
    Import(ImportArgs),
    /// Random bytes from the pool
    Random(RandomArgs),
}

/// A key.
#[derive(Args, Debug)]
pub struct NameArg {
    /// Name of the key
    #[arg(value_parser = values::key_name)]
    name: KeyName,
}

/// A key version.
#[derive(Args, Debug)]
pub struct KeyArg {
    /// Name of the key, or NAME/VERSION; without a version the latest
    #[arg(value_parser = values::key_ref, value_name = "NAME[/VERSION]")]
    key: KeyRef,
}

/// What a new key is.
#[derive(Args, Debug)]
pub struct CreateArgs {
    #[command(flatten)]
    key: NameArg,
    /// Type of the key
    #[arg(long, ignore_case = true)]
    kty: KeyType,
    /// Bits of an RSA key (2048, 3072, 4096) or an oct key (128, 192, 256)
    #[arg(long, value_name = "BITS")]
    size: Option<u16>,
    /// Curve of an EC key
    #[arg(long, value_parser = values::curve())]
    curve: Option<Curve>,
    /// Parameter set of an AKP key
    #[arg(long, value_parser = values::ml_dsa())]
    alg: Option<MlDsa>,
    /// Public exponent of an RSA key
    #[arg(long, value_name = "NUMBER")]
    exponent: Option<u32>,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Types of keys.
#[derive(ValueEnum, Clone, Copy, Debug)]
enum KeyType {
    /// RSA key pair
    #[value(name = "RSA", alias = "RSA-HSM")]
    Rsa,
    /// Elliptic-curve key pair
    #[value(name = "EC", alias = "EC-HSM")]
    Ec,
    /// Symmetric key
    #[value(name = "oct", alias = "oct-HSM")]
    Oct,
    /// ML-DSA key pair
    #[value(name = "AKP", alias = "AKP-HSM")]
    Akp,
}

/// What may be said of a key version when it is made and later.
#[derive(Args, Debug)]
struct ChangeArgs {
    /// What the key may do, apart by commas
    #[arg(long, value_name = "OPERATIONS", value_delimiter = ',', value_parser = values::key_operation())]
    ops: Vec<KeyOperation>,
    /// Whether the key may be used at all
    #[arg(long, value_name = "BOOLEAN")]
    enabled: Option<bool>,
    /// No new use before this time
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    not_before: Option<Time>,
    /// No new use from this time on
    #[arg(long, value_name = "TIME", value_parser = values::time)]
    expires: Option<Time>,
    /// A tag; all tags together replace those that are there
    #[arg(long = "tag", value_name = "NAME=VALUE", value_parser = values::tag)]
    tags: Vec<Tag>,
}

/// What is to change.
#[derive(Args, Debug)]
pub struct UpdateArgs {
    #[command(flatten)]
    key: KeyArg,
    #[command(flatten)]
    change: ChangeArgs,
    /// Take all tags away
    #[arg(long, conflicts_with = "tags")]
    no_tags: bool,
}

/// A key to bring in.
#[derive(Args, Debug)]
pub struct ImportArgs {
    #[command(flatten)]
    key: NameArg,
    #[command(flatten)]
    source: ImportSource,
    #[command(flatten)]
    change: ChangeArgs,
}

/// Where the key is.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct ImportSource {
    /// File with an unencrypted private key in PEM (PKCS#8, PKCS#1 or SEC1), or - for standard input
    #[arg(long, value_name = "FILE")]
    pem: Option<PathBuf>,
    /// File with a private or symmetric JSON Web Key, or - for standard input
    #[arg(long, value_name = "FILE")]
    jwk: Option<PathBuf>,
}

/// How many random bytes.
#[derive(Args, Debug)]
pub struct RandomArgs {
    /// How many bytes, 1 to 128
    #[arg(value_parser = clap::value_parser!(u8).range(1..=128))]
    count: u8,
    #[command(flatten)]
    out: OutArgs,
}

/// Where resulting bytes go.
#[derive(Args, Debug)]
struct OutArgs {
    /// Write the resulting bytes to a file, or - for standard output, instead of showing them as base64url
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Does what `command` says and gives the exit code.
pub(crate) async fn run(
    command: KeyCommand,
    connection: &mut Connection,
    around: &mut Surroundings<'_>,
) -> Result<u8, Error> {
    use KeyCommand as C;
    match command {
        C::Create(args) => create(&args, connection, around).await?,
        C::List => list(connection, around).await?,
        C::Show(KeyArg { key }) => {
            let bundle = connection.call(Method::GET, &path(&key, ""), None).await?;
            show_bundle(&bundle, connection.format(), around)?;
        }
        C::Versions(NameArg { name }) => versions(&name, connection, around).await?,
        C::Update(args) => update(&args, connection, around).await?,
        C::Sign(args) => using::sign(&args, connection, around).await?,
        C::Verify(args) => return using::verify(&args, connection, around).await,
        C::Encrypt(args) => using::encrypt("encrypt", &args, connection, around).await?,
        C::Decrypt(args) => using::decrypt("decrypt", &args, connection, around).await?,
        C::Wrap(args) => using::encrypt("wrapkey", &args, connection, around).await?,
        C::Unwrap(args) => using::decrypt("unwrapkey", &args, connection, around).await?,
        C::Rotate(NameArg { name }) => {
            let bundle = connection.call(Method::POST, &format!("/keys/{name}/rotate"), None).await?;
            show_bundle(&bundle, connection.format(), around)?;
        }
        C::RotationPolicy(command) => rotation::run(command, connection, around).await?,
        C::Delete(NameArg { name }) => {
            let deleted = connection.call(Method::DELETE, &format!("/keys/{name}"), None).await?;
            show_deleted(&deleted, connection.format(), around)?;
        }
        C::ListDeleted => list_deleted(connection, around).await?,
        C::ShowDeleted(NameArg { name }) => {
            let deleted = connection.call(Method::GET, &format!("/deletedkeys/{name}"), None).await?;
            show_deleted(&deleted, connection.format(), around)?;
        }
        C::Recover(NameArg { name }) => {
            let bundle = connection.call(Method::POST, &format!("/deletedkeys/{name}/recover"), None).await?;
            show_bundle(&bundle, connection.format(), around)?;
        }
        C::Purge(NameArg { name }) => {
            connection.call_without_answer(Method::DELETE, &format!("/deletedkeys/{name}")).await?;
            if connection.format() == Format::Table {
                around.print(&format!("{name} is destroyed\n"))?;
            }
        }
        C::Import(args) => import(&args, connection, around).await?,
        C::Random(args) => random(&args, connection, around).await?,
    }
    Ok(0)
}

async fn create(args: &CreateArgs, connection: &mut Connection, around: &mut Surroundings<'_>) -> Result<(), Error> {
    let kty = match args.kty {
        KeyType::Rsa => "RSA-HSM",
        KeyType::Ec => "EC-HSM",
        KeyType::Oct => "oct-HSM",
        KeyType::Akp => "AKP-HSM",
    };
    let mut body = args.change.body();
    body.insert("kty".to_owned(), json!(kty));
    for (member, value) in [
        ("key_size", args.size.map(Value::from)),
        ("crv", args.curve.map(|curve| json!(curve.as_str()))),
        ("alg", args.alg.map(|set| json!(set.as_str()))),
        ("public_exponent", args.exponent.map(Value::from)),
    ] {
        body.extend(value.map(|value| (member.to_owned(), value)));
    }
    if !args.change.ops.is_empty() {
        body.insert("key_ops".to_owned(), args.change.operations());
    }
    let path = format!("/keys/{}/create", args.key.name);
    let bundle = connection.call(Method::POST, &path, Some(&Value::Object(body))).await?;
    show_bundle(&bundle, connection.format(), around)
}

async fn update(args: &UpdateArgs, connection: &mut Connection, around: &mut Surroundings<'_>) -> Result<(), Error> {
    let mut body = args.change.body();
    if args.no_tags {
        body.insert("tags".to_owned(), json!({}));
    }
    if !args.change.ops.is_empty() {
        body.insert("key_ops".to_owned(), args.change.operations());
    }
    if body.is_empty() {
        return Err(Error::Usage("there is nothing to change; see --help".to_owned()));
    }
    let bundle = connection.call(Method::PATCH, &path(&args.key.key, ""), Some(&Value::Object(body))).await?;
    show_bundle(&bundle, connection.format(), around)
}

async fn import(args: &ImportArgs, connection: &mut Connection, around: &mut Surroundings<'_>) -> Result<(), Error> {
    let mut key = match &args.source {
        ImportSource { pem: Some(path), .. } => material::from_pem(&around.read(path)?)?,
        ImportSource { jwk: Some(path), .. } => material::from_jwk(&around.read(path)?)?,
        ImportSource { pem: None, jwk: None } => return Err(Error::Usage("give --pem or --jwk".to_owned())),
    };
    if !args.change.ops.is_empty() {
        key.insert("key_ops".to_owned(), args.change.operations());
    }
    let mut body = args.change.body();
    body.insert("key".to_owned(), Value::Object(key));
    let path = format!("/keys/{}", args.key.name);
    let bundle = connection.call(Method::PUT, &path, Some(&Value::Object(body))).await?;
    show_bundle(&bundle, connection.format(), around)
}

impl ChangeArgs {
    /// The members `attributes` and `tags`, those that were given.
    fn body(&self) -> Map<String, Value> {
        let attributes: Map<String, Value> = [
            ("enabled", self.enabled.map(Value::from)),
            ("nbf", self.not_before.map(|time| time.0.into())),
            ("exp", self.expires.map(|time| time.0.into())),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name.to_owned(), value)))
        .collect();
        let tags: Map<String, Value> = self.tags.iter().map(|Tag(name, value)| (name.clone(), json!(value))).collect();
        [("attributes", attributes), ("tags", tags)]
            .into_iter()
            .filter(|(_, members)| !members.is_empty())
            .map(|(name, members)| (name.to_owned(), Value::Object(members)))
            .collect()
    }

    fn operations(&self) -> Value {
        self.ops.iter().map(|operation| operation.as_str()).collect()
    }
}

async fn list(connection: &mut Connection, around: &mut Surroundings<'_>) -> Result<(), Error> {
    let keys: Answer<Vec<KeyItem>> = connection.list("/keys", &[]).await?;
    let rows = keys.meaning.iter().map(bundles::key_row).collect();
    show(&keys.json, &Table::list(bundles::KEY_HEADER, rows), connection.format(), around)
}

async fn versions(name: &KeyName, connection: &mut Connection, around: &mut Surroundings<'_>) -> Result<(), Error> {
    let versions: Answer<Vec<KeyItem>> = connection.list(&format!("/keys/{name}/versions"), &[]).await?;
    let rows = versions.meaning.iter().map(bundles::version_row).collect();
    show(&versions.json, &Table::list(bundles::VERSION_HEADER, rows), connection.format(), around)
}

async fn list_deleted(connection: &mut Connection, around: &mut Surroundings<'_>) -> Result<(), Error> {
    let keys: Answer<Vec<DeletedKeyItem>> = connection.list("/deletedkeys", &[]).await?;
    let rows = keys.meaning.iter().map(bundles::deleted_row).collect();
    show(&keys.json, &Table::list(bundles::DELETED_HEADER, rows), connection.format(), around)
}

async fn random(args: &RandomArgs, connection: &mut Connection, around: &mut Surroundings<'_>) -> Result<(), Error> {
    let random: Answer<RandomBytes> =
        connection.call(Method::POST, "/rng", Some(&json!({ "count": args.count }))).await?;
    let value = &random.meaning.value.0;
    let shown = Table::facts([("Value", args.out.out.is_none().then(|| base64url::encode(value)))]);
    show_bytes(value, random.json, &shown, &args.out, connection.format(), around)
}

fn show_bundle(bundle: &Answer<KeyBundle>, format: Format, around: &mut Surroundings<'_>) -> Result<(), Error> {
    show(&bundle.json, &bundles::key_facts(&bundle.meaning), format, around)
}

fn show_deleted(key: &Answer<DeletedKeyBundle>, format: Format, around: &mut Surroundings<'_>) -> Result<(), Error> {
    show(&key.json, &bundles::deleted_facts(&key.meaning), format, around)
}

/// Shows an answer as the user wants it.
pub(crate) fn show(json: &Value, table: &Table, format: Format, around: &mut Surroundings<'_>) -> Result<(), Error> {
    match format {
        Format::Json => around.print(&format!("{}\n", text::json(json))),
        Format::Table => table.write(around.output).map_err(|source| Error::file("standard output", source)),
    }
}

/// Shows an answer whose member `value` is `bytes`. Where these go elsewhere, only the rest is shown: on standard error
/// if the bytes go to standard output.
fn show_bytes(
    bytes: &[u8],
    mut json: Value,
    table: &Table,
    out: &OutArgs,
    format: Format,
    around: &mut Surroundings<'_>,
) -> Result<(), Error> {
    let Some(path) = &out.out else { return show(&json, table, format, around) };
    if let Some(members) = json.as_object_mut() {
        members.remove("value");
    }
    if path.as_os_str() != "-" {
        write_private(path, bytes)?;
        return show(&json, table, format, around);
    }
    around.write(bytes)?;
    let mut rest = Vec::new();
    let written = match format {
        Format::Json => writeln_json(&mut rest, &json),
        Format::Table => table.write(&mut rest),
    };
    written.and_then(|()| around.errors.write_all(&rest)).map_err(|source| Error::file("standard error", source))
}

fn writeln_json(out: &mut Vec<u8>, json: &Value) -> std::io::Result<()> {
    use std::io::Write as _;
    writeln!(out, "{}", text::json(json))
}

/// The path of a key version, and of an operation on it.
/// See [`crate::fuzzing::key_files`].
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = material::from_pem(bytes);
    let _ = material::from_jwk(bytes);
    material::fuzz_der(bytes);
}

fn path(key: &KeyRef, operation: &str) -> String {
    let segments = [Some(key.name.to_string()), key.version.map(|version| version.to_string())];
    let operation = Some(operation.to_owned()).filter(|operation| !operation.is_empty());
    segments.into_iter().chain([operation]).flatten().fold("/keys".to_owned(), |path, segment| path + "/" + &segment)
}
