//! A key version as the store holds it and as the pool keeps it in memory; see `SPEC.md`, section 4.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::Bytes;
use model::{Attributes, Curve, KeyKind, KeyOperations, MlDsa, OctSize, RsaSize, Tags, UnixTime};
use zeroize::Zeroizing;

use crate::Error;
use crate::codec::{Reader, VERSION, put_long, put_short};
use crate::hierarchy::{Master, Masters};
use crate::keys::PublicKey;
use crate::seal::{self, KEY, Purpose};
use crate::secret::SecretBytes;

/// The longest release policy, in bytes.
pub const LONGEST_RELEASE_POLICY: usize = 64 << 10;

/// Where a key version came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Made inside the module.
    Generated,
    /// Made elsewhere and brought in.
    Imported,
}

/// The policy that a release must satisfy, as its owner wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReleasePolicyRecord {
    /// The policy document, at most [`LONGEST_RELEASE_POLICY`] bytes.
    pub data: Bytes,
    /// Whether it can never change again.
    pub immutable: bool,
}

/// The facts of a key version that may change, authenticated by the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyFacts {
    /// Enabled, validity, creation and last change.
    pub attributes: Attributes,
    /// What it may be used for.
    pub operations: KeyOperations,
    /// The owner's tags.
    pub tags: Tags,
    /// The release policy, if it has one; only an exportable key can.
    pub release_policy: Option<Box<ReleasePolicyRecord>>,
}

/// A key version in the pool's memory: authenticated, and still sealed. Made only by this crate; cheap to clone.
#[derive(Clone)]
pub struct SealedKey(Arc<Inner>);

struct Inner {
    /// Which root sealed it.
    identity: [u8; KEY],
    path: Box<str>,
    /// How much of the path is its key's.
    key_path_len: usize,
    sealing_key: Bytes,
    header: Header,
    /// Length of the header inside the blob.
    header_len: usize,
    facts: KeyFacts,
    sequence: u64,
    value: Bytes,
    blob_len: usize,
    blob_digest: [u8; 32],
    /// Whether the version is gone; one for all its forms.
    forgotten: Arc<AtomicBool>,
}

/// The facts of a key version that never change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) kind: KeyKind,
    pub(crate) origin: Origin,
    pub(crate) exportable: bool,
    pub(crate) public: PublicKey,
}

/// Where a key version lives, and under what it is sealed.
pub(crate) struct Place<'a> {
    pub(crate) path: &'a str,
    pub(crate) key_path: &'a str,
    pub(crate) sealing_key: &'a Bytes,
}

impl SealedKey {
    /// Type with size, curve or parameter set.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        self.0.header.kind
    }

    /// The public part; of an oct key, [`PublicKey::None`].
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.0.header.public
    }

    /// The facts that may change.
    #[must_use]
    pub fn facts(&self) -> &KeyFacts {
        &self.0.facts
    }

    /// Whether it may ever leave by release.
    #[must_use]
    pub fn exportable(&self) -> bool {
        self.0.header.exportable
    }

    /// Where it came from.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.0.header.origin
    }

    /// 1 for a new version, one more for each update.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.0.sequence
    }

    /// Where the version is stored.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// Exactly what the store holds for the version.
    #[must_use]
    pub fn value(&self) -> &Bytes {
        &self.0.value
    }

    /// Seals the material of a new version and its first record.
    pub(crate) fn create(
        masters: &Masters,
        place: &Place<'_>,
        header: Header,
        material: &SecretBytes,
        facts: KeyFacts,
    ) -> Result<Self, Error> {
        check(&facts, header.exportable)?;
        let key_path_len = place.key_path_len().ok_or(Error::InvalidInput { what: "a version lies below its key" })?;
        let sealing_key = place.open_sealing_key(masters)?;
        let mut blob = header.encode()?;
        let header_len = blob.len();
        let bindings = [place.path.as_bytes(), place.key_path.as_bytes(), &blob];
        let sealed = seal::seal(&sealing_key, Purpose::KeyMaterial, &bindings, material.expose())?;
        blob.extend_from_slice(&sealed);
        let (blob_len, blob_digest) = (blob.len(), sha256(&blob));
        let value = sealed_value(masters, place, &blob, &blob_digest, 1, &facts)?;
        Ok(Self(Arc::new(Inner {
            identity: *masters.get(Master::Identity),
            path: place.path.into(),
            key_path_len,
            sealing_key: place.sealing_key.clone(),
            header,
            header_len,
            facts,
            sequence: 1,
            value,
            blob_len,
            blob_digest,
            forgotten: Arc::default(),
        })))
    }

    /// Authenticates a stored value.
    pub(crate) fn load(masters: &Masters, place: &Place<'_>, value: Bytes) -> Result<Self, Error> {
        let mut reader = Reader::new(&value);
        reader.version()?;
        let blob_len = reader.long()?.len();
        let record = reader.rest();
        let key_path_len = place.key_path_len().ok_or(Error::Tampered)?;
        let blob = &value[PREFIX..PREFIX + blob_len];
        let blob_digest = sha256(blob);

        let sealing_digest = sha256(place.sealing_key);
        let bindings = record_bindings(place, &blob_digest, &sealing_digest);
        let opened = seal::open(masters.get(Master::KeyRecord), Purpose::KeyRecord, &bindings, record)?;
        let (sequence, facts) = decode_facts(&opened)?;
        let mut reader = Reader::new(blob);
        let header = Header::decode(&mut reader)?;
        let header_len = blob.len() - reader.rest().len();
        check(&facts, header.exportable).map_err(|_| Error::Tampered)?;
        Ok(Self(Arc::new(Inner {
            identity: *masters.get(Master::Identity),
            path: place.path.into(),
            key_path_len,
            sealing_key: place.sealing_key.clone(),
            header,
            header_len,
            facts,
            sequence,
            value,
            blob_len,
            blob_digest,
            forgotten: Arc::default(),
        })))
    }

    /// The same version with new facts.
    pub(crate) fn update(&self, masters: &Masters, facts: KeyFacts) -> Result<Self, Error> {
        self.belongs_to(masters)?;
        let old = &self.0;
        if facts.attributes.created != old.facts.attributes.created {
            return Err(Error::InvalidInput { what: "the creation time of a key version cannot change" });
        }
        let pinned = old.facts.release_policy.as_ref().is_some_and(|policy| policy.immutable);
        if pinned && facts.release_policy != old.facts.release_policy {
            return Err(Error::PolicyImmutable);
        }
        check(&facts, old.header.exportable)?;
        let sequence = old.sequence.checked_add(1).ok_or(Error::Tampered)?;
        let value = sealed_value(masters, &old.place(), old.blob(), &old.blob_digest, sequence, &facts)?;
        Ok(Self(Arc::new(Inner {
            identity: old.identity,
            path: old.path.clone(),
            key_path_len: old.key_path_len,
            sealing_key: old.sealing_key.clone(),
            header: old.header.clone(),
            header_len: old.header_len,
            facts,
            sequence,
            value,
            blob_len: old.blob_len,
            blob_digest: old.blob_digest,
            forgotten: old.forgotten.clone(),
        })))
    }

    /// Opens the material.
    pub(crate) fn open_material(&self, masters: &Masters) -> Result<SecretBytes, Error> {
        self.belongs_to(masters)?;
        let inner = &self.0;
        let place = inner.place();
        let sealing_key = place.open_sealing_key(masters)?;
        let (header, sealed) = inner.blob().split_at(inner.header_len);
        let bindings = [place.path.as_bytes(), place.key_path.as_bytes(), header];
        let material = seal::open(&sealing_key, Purpose::KeyMaterial, &bindings, sealed)?;
        Ok(SecretBytes::copy_of(&material))
    }

    /// Refuses a key that another pool's module made: its opened form may be in the shared cache.
    pub(crate) fn belongs_to(&self, masters: &Masters) -> Result<(), Error> {
        if self.0.identity == *masters.get(Master::Identity) { Ok(()) } else { Err(Error::Tampered) }
    }

    /// Notes that the version is gone, for everyone who still holds a form of it.
    pub(crate) fn set_forgotten(&self) {
        self.0.forgotten.store(true, Ordering::SeqCst);
    }

    pub(crate) fn is_forgotten(&self) -> bool {
        self.0.forgotten.load(Ordering::SeqCst)
    }

    /// What names the opened material in the cache: every blob has its own salt, so its digest is unique.
    pub(crate) fn blob_digest(&self) -> &[u8; 32] {
        &self.0.blob_digest
    }
}

impl Inner {
    fn place(&self) -> Place<'_> {
        Place { path: &self.path, key_path: &self.path[..self.key_path_len], sealing_key: &self.sealing_key }
    }

    fn blob(&self) -> &[u8] {
        &self.value[PREFIX..PREFIX + self.blob_len]
    }
}

impl fmt::Debug for SealedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedKey")
            .field("path", &self.0.path)
            .field("header", &self.0.header)
            .field("facts", &self.0.facts)
            .field("sequence", &self.0.sequence)
            .finish_non_exhaustive()
    }
}

/// Makes and seals the sealing key of a key name.
pub(crate) fn new_sealing_key(masters: &Masters, key_path: &str) -> Result<Bytes, Error> {
    let mut key = Zeroizing::new([0; KEY]);
    seal::random(&mut *key)?;
    seal::seal(masters.get(Master::KeySealing), Purpose::SealingKey, &[key_path.as_bytes()], &*key).map(Bytes::from)
}

impl Place<'_> {
    /// How much of the path is its key's; `None` if the version does not lie below its key.
    fn key_path_len(&self) -> Option<usize> {
        self.path.strip_prefix(self.key_path)?.starts_with('/').then_some(self.key_path.len())
    }

    /// Refuses what sealing would refuse, before a key is made in vain.
    pub(crate) fn check(&self, masters: &Masters, facts: &KeyFacts, exportable: bool) -> Result<(), Error> {
        check(facts, exportable)?;
        self.open_sealing_key(masters).map(drop)
    }

    fn open_sealing_key(&self, masters: &Masters) -> Result<Zeroizing<[u8; KEY]>, Error> {
        let bindings = [self.key_path.as_bytes()];
        let key = seal::open(masters.get(Master::KeySealing), Purpose::SealingKey, &bindings, self.sealing_key)?;
        key.as_slice().try_into().map(Zeroizing::new).map_err(|_| Error::Tampered)
    }
}

/// Bytes of a value before its blob: version and length.
const PREFIX: usize = 5;

fn sealed_value(
    masters: &Masters,
    place: &Place<'_>,
    blob: &[u8],
    blob_digest: &[u8; 32],
    sequence: u64,
    facts: &KeyFacts,
) -> Result<Bytes, Error> {
    let sealing_digest = sha256(place.sealing_key);
    let bindings = record_bindings(place, blob_digest, &sealing_digest);
    let plain = encode_facts(sequence, facts)?;
    let record = seal::seal(masters.get(Master::KeyRecord), Purpose::KeyRecord, &bindings, &plain)?;
    let mut value = Vec::with_capacity(PREFIX + blob.len() + record.len());
    value.push(VERSION);
    put_long(&mut value, blob, "the key is too large")?;
    value.extend_from_slice(&record);
    Ok(value.into())
}

fn record_bindings<'a>(place: &Place<'a>, blob: &'a [u8; 32], sealing_key: &'a [u8; 32]) -> [&'a [u8]; 4] {
    [place.path.as_bytes(), place.key_path.as_bytes(), blob, sealing_key]
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

fn check(facts: &KeyFacts, exportable: bool) -> Result<(), Error> {
    match &facts.release_policy {
        Some(_) if !exportable => Err(Error::InvalidInput { what: "only an exportable key has a release policy" }),
        Some(policy) if policy.data.len() > LONGEST_RELEASE_POLICY => {
            Err(Error::InvalidInput { what: "the release policy is longer than 64 KiB" })
        }
        _ => Ok(()),
    }
}

impl Header {
    fn encode(&self) -> Result<Vec<u8>, Error> {
        let (kty, parameter) = match self.kind {
            KeyKind::Rsa(RsaSize::Rsa2048) => (1, 1),
            KeyKind::Rsa(RsaSize::Rsa3072) => (1, 2),
            KeyKind::Rsa(RsaSize::Rsa4096) => (1, 3),
            KeyKind::Ec(Curve::P256) => (2, 1),
            KeyKind::Ec(Curve::P256K) => (2, 2),
            KeyKind::Ec(Curve::P384) => (2, 3),
            KeyKind::Ec(Curve::P521) => (2, 4),
            // At most 64.
            KeyKind::Oct(size) => (3, size.bytes() as u8),
            KeyKind::Akp(MlDsa::MlDsa44) => (4, 1),
            KeyKind::Akp(MlDsa::MlDsa65) => (4, 2),
            KeyKind::Akp(MlDsa::MlDsa87) => (4, 3),
        };
        let origin = match self.origin {
            Origin::Generated => 1,
            Origin::Imported => 2,
        };
        let mut out = vec![VERSION, kty, parameter, origin, u8::from(self.exportable)];
        match &self.public {
            PublicKey::Rsa { n, e } => {
                put_short(&mut out, n, "the modulus is too long")?;
                put_short(&mut out, e, "the exponent is too long")?;
            }
            PublicKey::Ec { x, y, .. } => {
                out.extend_from_slice(x);
                out.extend_from_slice(y);
            }
            PublicKey::Akp { public, .. } => out.extend_from_slice(public),
            PublicKey::None => {}
        }
        Ok(out)
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        reader.version()?;
        let kind = match (reader.u8()?, reader.u8()?) {
            (1, 1) => KeyKind::Rsa(RsaSize::Rsa2048),
            (1, 2) => KeyKind::Rsa(RsaSize::Rsa3072),
            (1, 3) => KeyKind::Rsa(RsaSize::Rsa4096),
            (2, 1) => KeyKind::Ec(Curve::P256),
            (2, 2) => KeyKind::Ec(Curve::P256K),
            (2, 3) => KeyKind::Ec(Curve::P384),
            (2, 4) => KeyKind::Ec(Curve::P521),
            (3, bytes) => KeyKind::Oct(OctSize::from_bytes(usize::from(bytes)).ok_or(Error::Tampered)?),
            (4, 1) => KeyKind::Akp(MlDsa::MlDsa44),
            (4, 2) => KeyKind::Akp(MlDsa::MlDsa65),
            (4, 3) => KeyKind::Akp(MlDsa::MlDsa87),
            _ => return Err(Error::Tampered),
        };
        let origin = match reader.u8()? {
            1 => Origin::Generated,
            2 => Origin::Imported,
            _ => return Err(Error::Tampered),
        };
        let exportable = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(Error::Tampered),
        };
        let public = match kind {
            KeyKind::Rsa(size) => {
                let (n, e) = (reader.short()?, reader.short()?);
                if n.len() != size.bytes() || n[0] < 0x80 || e.first().is_none_or(|first| *first == 0) {
                    return Err(Error::Tampered);
                }
                PublicKey::Rsa { n: n.into(), e: e.into() }
            }
            KeyKind::Ec(curve) => {
                let (x, y) = (reader.take(curve.field_bytes())?, reader.take(curve.field_bytes())?);
                PublicKey::Ec { curve, x: x.into(), y: y.into() }
            }
            KeyKind::Akp(set) => {
                PublicKey::Akp { set, public: reader.take(crate::keys::ml_dsa_public_len(set))?.into() }
            }
            KeyKind::Oct(_) => PublicKey::None,
        };
        Ok(Self { kind, origin, exportable, public })
    }
}

const ENABLED: u8 = 1;
const NOT_BEFORE: u8 = 2;
const EXPIRES: u8 = 4;
const POLICY: u8 = 8;
const IMMUTABLE: u8 = 16;

fn encode_facts(sequence: u64, facts: &KeyFacts) -> Result<Vec<u8>, Error> {
    let attributes = &facts.attributes;
    let mut flags = 0;
    for (set, flag) in [
        (attributes.enabled, ENABLED),
        (attributes.not_before.is_some(), NOT_BEFORE),
        (attributes.expires.is_some(), EXPIRES),
        (facts.release_policy.is_some(), POLICY),
        (facts.release_policy.as_ref().is_some_and(|policy| policy.immutable), IMMUTABLE),
    ] {
        if set {
            flags |= flag;
        }
    }
    let mut out = vec![VERSION];
    out.extend_from_slice(&sequence.to_be_bytes());
    out.push(flags);
    let times = [attributes.not_before, attributes.expires, Some(attributes.created), Some(attributes.updated)];
    for time in times.into_iter().flatten() {
        out.extend_from_slice(&time.0.to_be_bytes());
    }
    out.push(facts.operations.bits());
    let tags = facts.tags.as_map();
    out.push(u8::try_from(tags.len()).map_err(|_| Error::InvalidInput { what: "too many tags" })?);
    for (name, value) in tags {
        put_short(&mut out, name.as_bytes(), "a tag is too long")?;
        put_short(&mut out, value.as_bytes(), "a tag is too long")?;
    }
    if let Some(policy) = &facts.release_policy {
        put_long(&mut out, &policy.data, "the release policy is too long")?;
    }
    Ok(out)
}

fn decode_facts(bytes: &[u8]) -> Result<(u64, KeyFacts), Error> {
    let mut reader = Reader::new(bytes);
    reader.version()?;
    let sequence = reader.u64()?;
    let flags = reader.u8()?;
    if flags & !(ENABLED | NOT_BEFORE | EXPIRES | POLICY | IMMUTABLE) != 0
        || flags & (POLICY | IMMUTABLE) == IMMUTABLE
        || sequence == 0
    {
        return Err(Error::Tampered);
    }
    let mut time_if = |flag| if flags & flag != 0 { reader.i64().map(|time| Some(UnixTime(time))) } else { Ok(None) };
    let (not_before, expires) = (time_if(NOT_BEFORE)?, time_if(EXPIRES)?);
    let (created, updated) = (UnixTime(reader.i64()?), UnixTime(reader.i64()?));
    let operations = KeyOperations::from_bits(reader.u8()?);

    let mut tags = BTreeMap::new();
    for _ in 0..reader.u8()? {
        let name = text(reader.short()?)?;
        if tags.last_key_value().is_some_and(|(last, _)| *last >= name) {
            return Err(Error::Tampered);
        }
        tags.insert(name, text(reader.short()?)?);
    }
    let tags = Tags::new(tags).map_err(|_| Error::Tampered)?;

    let release_policy = if flags & POLICY != 0 {
        let data = Bytes::copy_from_slice(reader.long()?);
        Some(Box::new(ReleasePolicyRecord { data, immutable: flags & IMMUTABLE != 0 }))
    } else {
        None
    };
    reader.end()?;
    let attributes = Attributes { enabled: flags & ENABLED != 0, not_before, expires, created, updated };
    Ok((sequence, KeyFacts { attributes, operations, tags, release_policy }))
}

fn text(bytes: &[u8]) -> Result<String, Error> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Error::Tampered)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// These parsers stand behind the seal; they are written as if they did not.
        #[test]
        fn what_the_parsers_take_is_exactly_what_the_writers_make(
            mut bytes in prop::collection::vec(0_u8..34, 0..120),
            flags in 0_u8..32,
        ) {
            if let Ok(header) = Header::decode(&mut Reader::new(&bytes)) {
                let encoded = header.encode().unwrap();
                prop_assert_eq!(&encoded[..], &bytes[..encoded.len()]);
            }
            if bytes.len() > 10 {
                (bytes[0], bytes[9]) = (VERSION, flags);
                // The counts of tags and of their lengths are small often enough to reach the end of the parser.
                for byte in &mut bytes[10..] {
                    *byte %= 3;
                }
            }
            // Every length, since the parser wants to end where the bytes do.
            for end in 0..=bytes.len() {
                if let Ok((sequence, facts)) = decode_facts(&bytes[..end]) {
                    prop_assert_eq!(encode_facts(sequence, &facts).unwrap(), &bytes[..end]);
                }
            }
        }
    }

    #[test]
    fn a_header_with_an_unknown_type_parameter_origin_or_flag_is_refused() {
        let good = [VERSION, 3, 32, 1, 0];
        assert!(Header::decode(&mut Reader::new(&good)).is_ok());
        for (index, value) in [(0, 0), (0, 2), (1, 0), (1, 5), (2, 0), (2, 65), (3, 0), (3, 3), (4, 2)] {
            let mut bad = good;
            bad[index] = value;
            assert!(matches!(Header::decode(&mut Reader::new(&bad)), Err(Error::Tampered)), "{index} {value}");
        }
    }
}
