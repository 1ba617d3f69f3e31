//! Signing, encrypting and wrapping with a key in the pool.

use std::path::PathBuf;

use aws_lc_rs::digest::{self, SHA256, SHA384, SHA512};
use clap::Args;
use model::{EncryptionAlgorithm, SignatureAlgorithm};
use reqwest::Method;
use serde_json::{Map, Value, json};
use wire::base64url;
use wire::keys::{OperationResult, Verification};
use zeroize::Zeroizing;

use super::{KeyArg, OutArgs, bundles, path, show, show_bytes};
use crate::configuration::Format;
use crate::connection::{Answer, Connection};
use crate::error::Error;
use crate::surroundings::Surroundings;
use crate::text::Table;
use crate::values::{self, Bytes};

/// What to sign.
#[derive(Args, Debug)]
pub struct SignArgs {
    #[command(flatten)]
    key: KeyArg,
    /// Algorithm
    #[arg(long, value_parser = values::signature())]
    alg: SignatureAlgorithm,
    #[command(flatten)]
    signed: SignedArgs,
    /// Context of an ML-DSA signature, at most 255 bytes
    #[arg(long, value_name = "BASE64URL", value_parser = values::bytes)]
    context: Option<Bytes>,
    #[command(flatten)]
    out: OutArgs,
}

/// A signature and what it was made over.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    key: KeyArg,
    /// Algorithm
    #[arg(long, value_parser = values::signature())]
    alg: SignatureAlgorithm,
    #[command(flatten)]
    signed: SignedArgs,
    /// Context of an ML-DSA signature
    #[arg(long, value_name = "BASE64URL", value_parser = values::bytes)]
    context: Option<Bytes>,
    #[command(flatten)]
    signature: SignatureArgs,
}

/// The signature, in one of two ways.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct SignatureArgs {
    /// The signature; one that begins with a dash needs an equals sign before it
    #[arg(long, value_name = "BASE64URL", value_parser = values::bytes, allow_hyphen_values = true)]
    signature: Option<Bytes>,
    /// File with the signature's bytes, or - for standard input
    #[arg(long, value_name = "FILE")]
    signature_file: Option<PathBuf>,
}

/// What is signed, in one of three ways.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct SignedArgs {
    /// The digest (for HMAC, ML-DSA and RSNULL the bytes themselves)
    #[arg(long, value_name = "BASE64URL", value_parser = values::bytes, allow_hyphen_values = true)]
    digest: Option<Bytes>,
    /// File with the digest's bytes, or - for standard input
    #[arg(long = "in", value_name = "FILE")]
    file: Option<PathBuf>,
    /// File with the message, or - for standard input; it is hashed here as the algorithm says
    #[arg(long, value_name = "FILE")]
    message: Option<PathBuf>,
}

/// What to encrypt or wrap.
#[derive(Args, Debug)]
pub struct EncryptArgs {
    #[command(flatten)]
    key: KeyArg,
    /// Algorithm
    #[arg(long, value_parser = values::encryption())]
    alg: EncryptionAlgorithm,
    #[command(flatten)]
    value: ValueArgs,
    /// Initialization vector of a CBC algorithm, 16 bytes
    #[arg(long, value_name = "BASE64URL", value_parser = values::bytes, allow_hyphen_values = true)]
    iv: Option<Bytes>,
    /// Additional data that a GCM algorithm authenticates
    #[arg(long, value_name = "BASE64URL", value_parser = values::bytes, allow_hyphen_values = true)]
    aad: Option<Bytes>,
    #[command(flatten)]
    out: OutArgs,
}

/// What to decrypt or unwrap.
#[derive(Args, Debug)]
pub struct DecryptArgs {
    #[command(flatten)]
    input: EncryptArgs,
    /// Tag of a GCM algorithm, 16 bytes
    #[arg(long, value_name = "BASE64URL", value_parser = values::bytes, allow_hyphen_values = true)]
    tag: Option<Bytes>,
}

/// The bytes, in one of two ways.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct ValueArgs {
    /// The bytes; a text that begins with a dash needs an equals sign before it
    #[arg(long, value_name = "BASE64URL", value_parser = values::bytes, allow_hyphen_values = true)]
    value: Option<Bytes>,
    /// File with the bytes, or - for standard input
    #[arg(long = "in", value_name = "FILE")]
    file: Option<PathBuf>,
}

pub(super) async fn sign(
    args: &SignArgs,
    connection: &mut Connection,
    around: &mut Surroundings<'_>,
) -> Result<(), Error> {
    let mut body = signature_body(args.alg, args.context.as_ref());
    body.insert("value".to_owned(), encoded(&args.signed.read(args.alg, around)?));
    let result = connection.call(Method::POST, &path(&args.key.key, "sign"), Some(&Value::Object(body))).await?;
    show_result("Signature", result, &args.out, connection.format(), around)
}

/// Exit code 0 for a good signature, 1 for any other.
pub(super) async fn verify(
    args: &VerifyArgs,
    connection: &mut Connection,
    around: &mut Surroundings<'_>,
) -> Result<u8, Error> {
    let mut body = signature_body(args.alg, args.context.as_ref());
    body.insert("digest".to_owned(), encoded(&args.signed.read(args.alg, around)?));
    let signature = one_of(args.signature.signature.as_ref(), args.signature.signature_file.as_ref(), around)?;
    body.insert("value".to_owned(), encoded(&signature));
    let verified: Answer<Verification> =
        connection.call(Method::POST, &path(&args.key.key, "verify"), Some(&Value::Object(body))).await?;
    let good = verified.meaning.value;
    let word = if good { "good" } else { "not good" };
    show(&verified.json, &Table::facts([("Signature", Some(word.to_owned()))]), connection.format(), around)?;
    Ok(if good { 0 } else { 1 })
}

/// `operation` is `encrypt` or `wrapkey`.
pub(super) async fn encrypt(
    operation: &str,
    args: &EncryptArgs,
    connection: &mut Connection,
    around: &mut Surroundings<'_>,
) -> Result<(), Error> {
    transform(operation, "Ciphertext", args, None, connection, around).await
}

/// `operation` is `decrypt` or `unwrapkey`.
pub(super) async fn decrypt(
    operation: &str,
    args: &DecryptArgs,
    connection: &mut Connection,
    around: &mut Surroundings<'_>,
) -> Result<(), Error> {
    transform(operation, "Plaintext", &args.input, args.tag.as_ref(), connection, around).await
}

async fn transform(
    operation: &str,
    label: &'static str,
    args: &EncryptArgs,
    tag: Option<&Bytes>,
    connection: &mut Connection,
    around: &mut Surroundings<'_>,
) -> Result<(), Error> {
    let value = one_of(args.value.value.as_ref(), args.value.file.as_ref(), around)?;
    let mut body = Map::new();
    body.insert("alg".to_owned(), json!(args.alg.as_str()));
    body.insert("value".to_owned(), encoded(&value));
    for (member, bytes) in [("iv", args.iv.as_ref()), ("aad", args.aad.as_ref()), ("tag", tag)] {
        body.extend(bytes.map(|bytes| (member.to_owned(), encoded(&bytes.0))));
    }
    let result = connection.call(Method::POST, &path(&args.key.key, operation), Some(&Value::Object(body))).await?;
    show_result(label, result, &args.out, connection.format(), around)
}

fn show_result(
    label: &'static str,
    result: Answer<OperationResult>,
    out: &OutArgs,
    format: Format,
    around: &mut Surroundings<'_>,
) -> Result<(), Error> {
    let OperationResult { kid, value, alg, iv, tag, aad } = result.meaning;
    let bytes = |bytes: Option<base64url::Decoded>| bytes.map(|bytes| base64url::encode(&bytes.0));
    let table = Table::facts([
        ("Key", Some(bundles::name(&kid))),
        ("Version", bundles::version(&kid)),
        ("Algorithm", alg),
        (label, out.out.is_none().then(|| base64url::encode(&value.0))),
        ("IV", bytes(iv)),
        ("Tag", bytes(tag)),
        ("Additional data", bytes(aad)),
    ]);
    show_bytes(&value.0, result.json, &table, out, format, around)
}

impl SignedArgs {
    /// What the pool is to sign: the digest, or what `algorithm` takes in its place.
    fn read(&self, algorithm: SignatureAlgorithm, around: &mut Surroundings<'_>) -> Result<Zeroizing<Vec<u8>>, Error> {
        let Some(message) = &self.message else { return one_of(self.digest.as_ref(), self.file.as_ref(), around) };
        let message = around.read(message)?;
        let hash = match (algorithm, algorithm.digest_len()) {
            (_, Some(32)) => &SHA256,
            (_, Some(48)) => &SHA384,
            (_, Some(_)) => &SHA512,
            (SignatureAlgorithm::RsNull, None) => {
                return Err(Error::Usage("RSNULL signs bytes as they are; give them with --digest or --in".to_owned()));
            }
            (_, None) => return Ok(message),
        };
        Ok(Zeroizing::new(digest::digest(hash, &message).as_ref().to_vec()))
    }
}

/// The members that sign and verify share. An ML-DSA key has one algorithm, and the interface does not name it.
fn signature_body(algorithm: SignatureAlgorithm, context: Option<&Bytes>) -> Map<String, Value> {
    use SignatureAlgorithm as A;
    let named = !matches!(algorithm, A::MlDsa44 | A::MlDsa65 | A::MlDsa87);
    let algorithm = named.then(|| ("alg".to_owned(), json!(algorithm.as_str())));
    algorithm.into_iter().chain(context.map(|bytes| ("context".to_owned(), encoded(&bytes.0)))).collect()
}

fn one_of(
    given: Option<&Bytes>,
    file: Option<&PathBuf>,
    around: &mut Surroundings<'_>,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    match (given, file) {
        (Some(Bytes(bytes)), _) => Ok(Zeroizing::new(bytes.clone())),
        (None, Some(path)) => around.read(path),
        (None, None) => Err(Error::Usage("there is no input; see --help".to_owned())),
    }
}

fn encoded(bytes: &[u8]) -> Value {
    json!(base64url::encode(bytes))
}
