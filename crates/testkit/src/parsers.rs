//! Every parser of foreign bytes, as a function that must return for all bytes.
//!
//! The store's file is not among them: it is the database's own format, which is not promised to bear foreign bytes.

use std::sync::OnceLock;

pub use cli::fuzzing::{answers as cli_answers, key_files as cli_key_files, settings_files as cli_settings_files};
pub use server::fuzzing::{certificates, host, issuer_documents, node_files, owner_request, token_request};

use audit::{Checkpoint, Origin, Record, VerifierKey};
use bytes::Bytes;
use crypto_module::{Engine, ImportKey, KeyFacts, KeyMaterial, Module, NodeKey, RsaMaterial, Software};
use model::rbac::{DataActions, Guid};
use model::rotation::Period;
use model::{Attributes, Curve, KeyName, KeyOperations, KeyVersion, MlDsa, PoolName, PrincipalId, Scope, UnixTime};

/// Reads bytes, and says nothing about what it found.
pub type Parser = fn(&[u8]);

/// Each by the name of its fuzz target and of the folder of its corpus. `fuzz/parsers.txt` says which code each reaches.
pub const PARSERS: &[(&str, Parser)] = &[
    ("wire", wire),
    ("identity", identity),
    ("names", names),
    ("sealed", sealed),
    ("key_material", key_material),
    ("audit_record", audit_record),
    ("audit_bundle", audit_bundle),
    ("audit_hashes", audit_hashes),
    ("audit_notes", audit_notes),
    ("audit_key", audit_key),
    ("audit_segment", audit_segment),
    ("audit_marker", audit_marker),
    ("records", records),
    ("server_config", server_config),
    ("host", host),
    ("token_request", token_request),
    ("issuer_documents", issuer_documents),
    ("owner_request", owner_request),
    ("certificates", certificates),
    ("node_files", node_files),
    ("cli_key_files", cli_key_files),
    ("cli_settings_files", cli_settings_files),
    ("cli_answers", cli_answers),
];

/// Request lines, bodies and answers.
pub fn wire(bytes: &[u8]) {
    wire::fuzz(bytes);
}

/// Tokens and key sets.
pub fn identity(bytes: &[u8]) {
    identity::fuzz(bytes);
}

/// The texts that are read into types of `model`.
pub fn names(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = PoolName::parse(&text);
    let _ = KeyName::parse(&text);
    let _ = PrincipalId::parse(&text);
    let _ = DataActions::named(&text);
    if let Ok(version) = KeyVersion::parse(&text) {
        assert_eq!(version.to_string(), text.to_ascii_lowercase());
    }
    if let Some(guid) = Guid::parse(&text) {
        assert_eq!(guid.to_string(), text.to_ascii_lowercase());
    }
    if let Ok(scope) = Scope::parse(&text) {
        assert_eq!(Scope::parse(&scope.to_string()), Ok(scope));
    }
    if let Ok(period) = Period::parse(&text) {
        let _ = period.after(UnixTime(1_800_000_000));
        let _ = period.before(UnixTime(1_800_000_000));
        assert!(Period::parse(&period.to_string()).is_ok());
    }
}

/// What the module reads from a store that anybody may have written.
pub fn sealed(bytes: &[u8]) {
    let (engine, node_key, module) = module();
    let value = Bytes::copy_from_slice(bytes);
    assert!(engine.open_pool(node_key, &pool(), bytes).is_err());
    assert!(module.open_value("pools/test/settings", bytes).is_err());
    assert!(module.open_head(bytes).is_err());
    assert!(module.load("pools/test/keys/a/1", "pools/test/keys/a", &value, value.clone()).is_err());
    let own = module.new_sealing_key("pools/test/keys/a").expect("memory and randomness");
    assert!(module.load("pools/test/keys/a/1", "pools/test/keys/a", &own, value).is_err());
}

/// Key material as an import hands it over: the first byte says what it is to be, the rest is cut into its parts.
pub fn key_material(bytes: &[u8]) {
    let Some((&what, rest)) = bytes.split_first() else { return };
    let part = |index: usize, parts: usize| -> &[u8] {
        let length = rest.len() / parts;
        if index + 1 == parts { &rest[index * length..] } else { &rest[index * length..(index + 1) * length] }
    };
    let number = |index, parts| Box::<[u8]>::from(part(index, parts));
    let secret = |index, parts| part(index, parts).to_vec().into();
    let material = match what % 9 {
        0 => KeyMaterial::Oct { k: rest.to_vec().into() },
        1 => KeyMaterial::Rsa(RsaMaterial { n: number(0, 2), e: [1, 0, 1].into(), d: secret(1, 2), factors: None }),
        n @ 2..=5 => {
            KeyMaterial::Ec { curve: Curve::ALL[usize::from(n) - 2], x: number(0, 3), y: number(1, 3), d: secret(2, 3) }
        }
        n => KeyMaterial::Akp { set: MlDsa::ALL[usize::from(n) - 6], public: number(0, 2), private: secret(1, 2) },
    };
    let (_, _, module) = module();
    let key_path = "pools/test/keys/a";
    let now = UnixTime(1_800_000_000);
    let request = ImportKey {
        path: format!("{key_path}/1"),
        key_path: key_path.to_owned(),
        sealing_key: module.new_sealing_key(key_path).expect("memory and randomness"),
        material,
        exportable: false,
        facts: KeyFacts {
            attributes: Attributes { enabled: true, not_before: None, expires: None, created: now, updated: now },
            operations: KeyOperations::default(),
            tags: model::Tags::default(),
            release_policy: None,
        },
    };
    let _ = runtime().block_on(module.import(request));
}

/// A record of an audit log.
pub fn audit_record(bytes: &[u8]) {
    let _ = Record::parse(bytes);
}

/// A bundle of entries, and each entry as a record.
pub fn audit_bundle(bytes: &[u8]) {
    if let Ok(entries) = audit::parse_bundle(bytes) {
        entries.into_iter().for_each(audit_record);
    }
}

/// A tile of hashes, and proofs made of it.
pub fn audit_hashes(bytes: &[u8]) {
    if let Ok(hashes) = audit::parse_hashes(bytes)
        && let [first, .., last] = hashes
    {
        let size = hashes.len() as u64;
        assert!(!audit::verify_inclusion(first, size, size, hashes, last));
        let _ = audit::verify_inclusion(first, size / 2, size, hashes, last);
        let _ = audit::verify_consistency(size / 2, first, size, last, hashes);
    }
}

/// Signed checkpoints, one behind the other.
pub fn audit_notes(bytes: &[u8]) {
    static KEY: OnceLock<VerifierKey> = OnceLock::new();
    let key =
        KEY.get_or_init(|| VerifierKey::new(Origin::parse("strongroom.test/test/a").expect("a legal origin"), [7; 32]));
    let (notes, rest) = audit::split_notes(bytes);
    assert_eq!(notes.iter().map(|note| note.len()).sum::<usize>() + rest.len(), bytes.len());
    for note in notes.into_iter().chain([bytes]) {
        assert!(Checkpoint::open(note, key).is_err(), "nobody has the key");
    }
}

/// The text of a key that checkpoints verify under.
pub fn audit_key(bytes: &[u8]) {
    if let Ok(key) = VerifierKey::parse(bytes) {
        assert_eq!(VerifierKey::parse(key.to_string().as_bytes()), Ok(key));
    }
}

/// A segment of the journal; the zeros at its end need not be in a corpus.
pub fn audit_segment(bytes: &[u8]) {
    let mut segment = bytes.to_vec();
    segment.resize(bytes.len().max(256 << 10), 0);
    let _ = audit::parse_segment(1, &segment);
}

/// The marker of how much of a log needs no journal.
pub fn audit_marker(bytes: &[u8]) {
    if let Some((size, stored)) = audit::parse_marker(bytes) {
        assert_eq!(format!("{size} {stored}\n").as_bytes(), bytes);
    }
}

/// What a pool stores, once its seal is open.
pub fn records(bytes: &[u8]) {
    pool::fuzz(bytes);
}

/// The configuration file.
pub fn server_config(bytes: &[u8]) {
    let _ = server::config::Config::parse(&String::from_utf8_lossy(bytes));
}

fn pool() -> PoolName {
    PoolName::parse("test").expect("a legal name")
}

/// A module under a root that no corpus knows.
fn module() -> (&'static Engine, &'static NodeKey, &'static Software) {
    static MODULE: OnceLock<(Engine, NodeKey, Software)> = OnceLock::new();
    let (engine, node_key, module) = MODULE.get_or_init(|| {
        let options = crypto_module::Options { workers: 1, rsa_stock: 0, ..crypto_module::Options::default() };
        let engine = Engine::start(&options).expect("a thread");
        let node_key = NodeKey::ephemeral().expect("memory and randomness");
        let (_, module) = engine.create_pool(&node_key, &pool()).expect("memory and randomness");
        (engine, node_key, module)
    });
    (engine, node_key, module)
}

fn runtime() -> &'static tokio::runtime::Runtime {
    static RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"))
}
