//! Keys as rows and as facts.

use std::collections::BTreeMap;

use wire::base64url;
use wire::keys::{DeletedKeyBundle, DeletedKeyItem, Jwk, KeyAttributes, KeyBundle, KeyItem};
use wire::urls::KeyUrl;

use crate::text::{Table, time};

pub(super) const KEY_HEADER: &[&str] = &["NAME", "ENABLED", "NOT BEFORE", "EXPIRES", "CREATED", "UPDATED", "TAGS"];
pub(super) const VERSION_HEADER: &[&str] =
    &["VERSION", "ENABLED", "NOT BEFORE", "EXPIRES", "CREATED", "UPDATED", "TAGS"];
pub(super) const DELETED_HEADER: &[&str] = &["NAME", "DELETED", "PURGED ON", "TAGS"];

pub(super) fn key_row(item: &KeyItem) -> Vec<String> {
    row(name(&item.kid), &item.attributes, &item.tags)
}

pub(super) fn version_row(item: &KeyItem) -> Vec<String> {
    row(version(&item.kid).unwrap_or_else(|| item.kid.clone()), &item.attributes, &item.tags)
}

pub(super) fn deleted_row(item: &DeletedKeyItem) -> Vec<String> {
    let at = |seconds: Option<i64>| seconds.map(time).unwrap_or_default();
    vec![name(&item.kid), at(item.deleted_date), at(item.scheduled_purge_date), tags(&item.tags).unwrap_or_default()]
}

pub(super) fn key_facts(bundle: &KeyBundle) -> Table {
    Table::facts(facts(&bundle.key, &bundle.attributes, &bundle.tags))
}

pub(super) fn deleted_facts(bundle: &DeletedKeyBundle) -> Table {
    let deletion = [("Deleted", bundle.deleted_date.map(time)), ("Purged on", bundle.scheduled_purge_date.map(time))];
    Table::facts(facts(&bundle.key, &bundle.attributes, &bundle.tags).into_iter().chain(deletion))
}

fn row(first: String, attributes: &KeyAttributes, of_key: &BTreeMap<String, String>) -> Vec<String> {
    let at = |seconds: Option<i64>| seconds.map_or_else(|| "-".to_owned(), time);
    vec![
        first,
        attributes.enabled.to_string(),
        at(attributes.nbf),
        at(attributes.exp),
        time(attributes.created),
        time(attributes.updated),
        tags(of_key).unwrap_or_default(),
    ]
}

fn facts(
    key: &Jwk,
    attributes: &KeyAttributes,
    of_key: &BTreeMap<String, String>,
) -> Vec<(&'static str, Option<String>)> {
    let bytes = |bytes: &Option<base64url::Decoded>| bytes.as_ref().map(|bytes| base64url::encode(&bytes.0));
    vec![
        ("Name", Some(name(&key.kid))),
        ("Version", version(&key.kid)),
        ("Type", Some(kind(key))),
        ("Operations", Some(key.key_ops.join(", "))),
        ("Enabled", Some(attributes.enabled.to_string())),
        ("Not before", attributes.nbf.map(time)),
        ("Expires", attributes.exp.map(time)),
        ("Created", Some(time(attributes.created))),
        ("Updated", Some(time(attributes.updated))),
        ("Exportable", attributes.exportable.then(|| "true".to_owned())),
        ("After deletion", recovery(attributes)),
        ("Tags", tags(of_key)),
        ("Modulus", bytes(&key.n)),
        ("Exponent", bytes(&key.e)),
        ("X", bytes(&key.x)),
        ("Y", bytes(&key.y)),
        ("Public key", bytes(&key.public)),
        ("Id", Some(key.kid.clone())),
    ]
}

/// `RSA-HSM 2048`, `EC-HSM P-256`, `oct-HSM`, `AKP-HSM ML-DSA-65`.
fn kind(key: &Jwk) -> String {
    let bits = key.n.as_ref().map(|n| {
        let significant = n.0.iter().position(|byte| *byte != 0).map_or(&[][..], |first| &n.0[first..]);
        let top = significant.first().map_or(0, |byte| byte.leading_zeros() as usize);
        (significant.len() * 8 - top).to_string()
    });
    let detail = bits.or_else(|| key.crv.clone()).or_else(|| key.alg.clone());
    detail.map_or_else(|| key.kty.clone(), |detail| format!("{} {detail}", key.kty))
}

fn recovery(attributes: &KeyAttributes) -> Option<String> {
    let level = attributes.recovery_level.clone()?;
    Some(attributes.recoverable_days.map_or(level.clone(), |days| format!("{level}, {days} days")))
}

fn tags(tags: &BTreeMap<String, String>) -> Option<String> {
    let pairs = tags.iter().map(|(name, value)| format!("{name}={value}"));
    (!tags.is_empty()).then(|| pairs.collect::<Vec<_>>().join(", "))
}

/// The key's name, or the whole identifier if it is none.
pub(super) fn name(kid: &str) -> String {
    KeyUrl::parse(kid).map_or_else(|| kid.to_owned(), |url| url.key.name.to_string())
}

/// The version, if the identifier has one.
pub(super) fn version(kid: &str) -> Option<String> {
    KeyUrl::parse(kid)?.key.version.map(|version| version.to_string())
}
