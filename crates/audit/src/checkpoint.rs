//! Signed statements of what a log holds: C2SP checkpoints as signed notes, and the keys they verify under.

use std::fmt;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::merkle::{Hash, sha256};

/// The most bytes of a note: text, extension lines and signatures.
pub const MAX_NOTE_BYTES: usize = 16 * 1024;

/// The most bytes that extension lines take.
const MAX_EXTENSION_BYTES: usize = 4 * 1024;

/// How a signature line begins.
const SIGNATURE: &str = "— ";

/// The signature type of plain Ed25519 in the key id and in a verifier key.
const ED25519_TYPE: u8 = 1;

/// Signs checkpoints. The key stays wherever it lives, in the cryptographic module.
pub trait Signer: Send + Sync {
    /// The Ed25519 public key.
    fn public_key(&self) -> [u8; 32];

    /// The Ed25519 signature over `message`.
    ///
    /// # Errors
    /// [`SignError`] if the key cannot be used now.
    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError>;
}

/// The key could not sign; whoever holds it knows why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the audit key could not sign")]
pub struct SignError;

/// The name of a log: the first line of its checkpoints, the name of its key, and the name of its folder.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin(Box<str>);

impl Origin {
    /// Takes a name like `strongroom.dev/<pool>/<node>`: 3 to 200 characters out of letters, digits and `.-_:~/`, at
    /// least two parts between slashes, none empty or beginning with a dot. Returns `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let legal = text.len() <= 200
            && text.contains('/')
            && text.split('/').all(|part| !part.is_empty() && !part.starts_with('.'))
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:~/".contains(&b));
        legal.then(|| Self(text.into()))
    }

    /// The name as it is written in a checkpoint.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of the folder below the node's: slashes become `+`, which no origin contains.
    #[must_use]
    pub fn folder(&self) -> String {
        self.0.replace('/', "+")
    }

    /// What stands for the name in the journal.
    pub(crate) fn key(&self) -> [u8; 16] {
        let mut key = [0; 16];
        key.copy_from_slice(&sha256(self.0.as_bytes())[..16]);
        key
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The public key that a log's checkpoints verify under, in the text form `<origin>+<key id>+<base64>`.
///
/// Source: C2SP signed-note, Ed25519 signatures.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifierKey {
    origin: Origin,
    public_key: [u8; 32],
}

impl VerifierKey {
    /// The key of the log named `origin`.
    #[must_use]
    pub fn new(origin: Origin, public_key: [u8; 32]) -> Self {
        Self { origin, public_key }
    }

    /// Reads the text form, with or without a line end.
    ///
    /// # Errors
    /// [`NoteError::Malformed`] for anything else, a key id that does not fit included.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        let malformed = || NoteError::Malformed { what: "verifier key" };
        let text = std::str::from_utf8(bytes).map_err(|_| malformed())?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let (name, rest) = text.split_once('+').ok_or_else(malformed)?;
        let (id, key) = rest.split_once('+').ok_or_else(malformed)?;
        let origin = Origin::parse(name).ok_or_else(malformed)?;
        if key.len() > 64 {
            return Err(malformed());
        }
        let key = STANDARD.decode(key).map_err(|_| malformed())?;
        let Some((&ED25519_TYPE, key)) = key.split_first() else { return Err(malformed()) };
        let parsed = Self { origin, public_key: key.try_into().map_err(|_| malformed())? };
        if parsed.id_text() != id {
            return Err(malformed());
        }
        Ok(parsed)
    }

    /// The log that the key belongs to.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The Ed25519 public key.
    #[must_use]
    pub fn public_key(&self) -> &[u8; 32] {
        &self.public_key
    }

    /// SHA-256 of the public key in hexadecimal, for people to compare.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        sha256(&self.public_key).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn id(&self) -> [u8; 4] {
        let mut named = Vec::from(self.origin.as_str());
        named.extend_from_slice(&[b'\n', ED25519_TYPE]);
        named.extend_from_slice(&self.public_key);
        let hash = sha256(&named);
        [hash[0], hash[1], hash[2], hash[3]]
    }

    fn id_text(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.id()))
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut typed = vec![ED25519_TYPE];
        typed.extend_from_slice(&self.public_key);
        write!(f, "{}+{}+{}", self.origin, self.id_text(), STANDARD.encode(typed))
    }
}

/// What a log held at one time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    /// How many records.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// The lines after the root: what the pool asked to have signed along.
    pub extension: Vec<String>,
}

/// A text that is no note, or not one of this log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoteError {
    /// The bytes do not have the form.
    #[error("not a {what}")]
    Malformed {
        /// What was expected.
        what: &'static str,
    },
    /// The checkpoint names another log.
    #[error("the checkpoint is of another log")]
    OtherOrigin,
    /// No signature of the log's key verifies.
    #[error("the checkpoint is not signed by the log's key")]
    Signature,
}

impl Checkpoint {
    /// The text that is signed.
    fn text(&self, origin: &Origin) -> String {
        let mut text = format!("{origin}\n{}\n{}\n", self.size, STANDARD.encode(self.root));
        for line in &self.extension {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// The signed note.
    pub(crate) fn signed(&self, key: &VerifierKey, signer: &dyn Signer) -> Result<String, SignError> {
        let text = self.text(&key.origin);
        let mut signature = Vec::from(key.id());
        signature.extend_from_slice(&signer.sign(text.as_bytes())?);
        Ok(format!("{text}\n— {} {}\n", key.origin, STANDARD.encode(signature)))
    }

    /// Reads a note and checks that it is of the log and signed by its key. Signatures of other keys are ignored.
    ///
    /// # Errors
    /// [`NoteError`], by what is wrong.
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Self, NoteError> {
        const MALFORMED: NoteError = NoteError::Malformed { what: "checkpoint" };
        if note.len() > MAX_NOTE_BYTES {
            return Err(MALFORMED);
        }
        let note = std::str::from_utf8(note).map_err(|_| MALFORMED)?;
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(MALFORMED);
        }
        let split = note.rfind("\n\n").ok_or(MALFORMED)?;
        let (text, signatures) = (&note[..=split], &note[split + 2..]);
        let (checkpoint, origin) = Self::parse_text(text)?;
        if origin != key.origin.as_str() {
            return Err(NoteError::OtherOrigin);
        }
        let mut signed = false;
        for line in signatures.strip_suffix('\n').ok_or(MALFORMED)?.split('\n') {
            let (name, encoded) =
                line.strip_prefix(SIGNATURE).and_then(|rest| rest.split_once(' ')).ok_or(MALFORMED)?;
            let decoded = STANDARD.decode(encoded).map_err(|_| MALFORMED)?;
            let (id, signature) = decoded.split_first_chunk::<4>().ok_or(MALFORMED)?;
            if name == origin && *id == key.id() {
                UnparsedPublicKey::new(&ED25519, &key.public_key)
                    .verify(text.as_bytes(), signature)
                    .map_err(|_| NoteError::Signature)?;
                signed = true;
            }
        }
        if signed { Ok(checkpoint) } else { Err(NoteError::Signature) }
    }

    fn parse_text(text: &str) -> Result<(Self, &str), NoteError> {
        const MALFORMED: NoteError = NoteError::Malformed { what: "checkpoint" };
        let mut lines = text.strip_suffix('\n').ok_or(MALFORMED)?.split('\n');
        let origin = lines.next().ok_or(MALFORMED)?;
        let digits = lines.next().ok_or(MALFORMED)?;
        let size: u64 = digits.parse().map_err(|_| MALFORMED)?;
        if size.to_string() != digits {
            return Err(MALFORMED);
        }
        let root = lines.next().filter(|line| line.len() == 44).ok_or(MALFORMED)?;
        let root = STANDARD.decode(root).map_err(|_| MALFORMED)?.try_into().map_err(|_| MALFORMED)?;
        let extension: Vec<String> = lines.map(str::to_owned).collect();
        if extension.iter().any(String::is_empty) {
            return Err(MALFORMED);
        }
        Ok((Self { size, root, extension }, origin))
    }
}

/// The extension lines in `text`: what a note cannot carry (empty lines, control characters), what looks like a
/// signature, and what exceeds the limit is dropped.
pub(crate) fn extension_lines(text: &str) -> Vec<String> {
    let mut left = MAX_EXTENSION_BYTES;
    text.lines()
        .map(|line| line.chars().filter(|c| !c.is_control()).collect::<String>())
        .filter(|line| !line.is_empty() && !line.starts_with(SIGNATURE))
        .take_while(|line| {
            let fits = line.len() < left;
            left = left.saturating_sub(line.len() + 1);
            fits
        })
        .collect()
}

/// Cuts a file of notes, one behind the other, into notes; each with its last line end. What is left at the end without
/// being a whole note is the second part.
#[must_use]
pub fn split_notes(bytes: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let mut notes = Vec::new();
    let mut start = 0;
    let mut at = 0;
    let mut signed = false;
    while let Some(length) = bytes[at..].iter().position(|&b| b == b'\n') {
        let line = &bytes[at..at + length];
        let is_signature = line.starts_with(SIGNATURE.as_bytes());
        if signed && !is_signature {
            notes.push(&bytes[start..at]);
            start = at;
        }
        signed = is_signature;
        at += length + 1;
    }
    if signed && at == bytes.len() {
        notes.push(&bytes[start..]);
        start = bytes.len();
    } else if signed {
        notes.push(&bytes[start..at]);
        start = at;
    }
    (notes, &bytes[start..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::signer;

    fn key(seed: u8) -> VerifierKey {
        VerifierKey::new(Origin::parse("strongroom.dev/contoso/a").unwrap(), signer(seed).public_key())
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint { size: 17, root: [9; 32], extension: vec!["head 12".into()] }
    }

    #[test]
    fn a_published_verifier_key_has_the_same_text() {
        // The key of the example of golang.org/x/mod/sumdb/note. Its name is not an origin, so only the text can be
        // compared.
        let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key = STANDARD.decode(text.rsplit('+').next().unwrap()).unwrap();
        let named = VerifierKey { origin: Origin("PeterNeumann".into()), public_key: key[1..].try_into().unwrap() };
        assert_eq!(named.to_string(), text);
    }

    #[test]
    fn a_verifier_key_reads_back() {
        let text = key(1).to_string();
        assert_eq!(VerifierKey::parse(text.as_bytes()).unwrap(), key(1));
        assert_eq!(VerifierKey::parse(format!("{text}\n").as_bytes()).unwrap(), key(1));
    }

    #[test]
    fn a_signed_checkpoint_reads_back() {
        let note = checkpoint().signed(&key(1), &*signer(1)).unwrap();
        assert_eq!(Checkpoint::open(note.as_bytes(), &key(1)).unwrap(), checkpoint());
    }

    #[test]
    fn a_checkpoint_of_another_key_or_log_is_refused() {
        let note = checkpoint().signed(&key(2), &*signer(2)).unwrap();
        assert_eq!(Checkpoint::open(note.as_bytes(), &key(1)), Err(NoteError::Signature));
        let other = VerifierKey::new(Origin::parse("strongroom.dev/contoso/b").unwrap(), signer(1).public_key());
        let note = checkpoint().signed(&other, &*signer(1)).unwrap();
        assert_eq!(Checkpoint::open(note.as_bytes(), &key(1)), Err(NoteError::OtherOrigin));
    }

    #[test]
    fn every_flipped_bit_of_a_note_is_noticed() {
        let note = checkpoint().signed(&key(1), &*signer(1)).unwrap();
        for at in 0..note.len() {
            for bit in 0..8 {
                let mut bytes = note.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                assert!(Checkpoint::open(&bytes, &key(1)).is_err(), "byte {at} bit {bit}");
            }
        }
    }

    #[test]
    fn signatures_of_unknown_keys_are_ignored() {
        let mut note = checkpoint().signed(&key(1), &*signer(1)).unwrap();
        note.push_str("— witness.example AAAAAAAA\n");
        assert_eq!(Checkpoint::open(note.as_bytes(), &key(1)).unwrap(), checkpoint());
    }

    #[test]
    fn extension_lines_cannot_break_out_of_a_note() {
        assert_eq!(extension_lines("head 1\n\n\u{7}— evil AA\r\nlast"), ["head 1", "last"]);
        assert_eq!(extension_lines(&"x".repeat(MAX_EXTENSION_BYTES + 1)), Vec::<String>::new());
    }

    #[test]
    fn notes_in_a_row_are_told_apart_and_a_torn_one_is_left_over() {
        let note = checkpoint().signed(&key(1), &*signer(1)).unwrap();
        let three = note.repeat(3);
        let (notes, rest) = split_notes(three.as_bytes());
        assert_eq!((notes, rest), (vec![note.as_bytes(); 3], &b""[..]));
        let torn = &three.as_bytes()[..three.len() - 5];
        let (notes, rest) = split_notes(torn);
        assert_eq!(notes.len(), 2);
        assert_eq!(rest, &note.as_bytes()[..note.len() - 5]);
    }

    #[test]
    fn origins_are_names_and_nothing_else() {
        assert_eq!(Origin::parse("strongroom.dev/contoso/a").unwrap().folder(), "strongroom.dev+contoso+a");
        for bad in ["", "a", "/a", "a/", "a//b", "a/..", "a/b c", "a/b+c", "a/é", &format!("a/{}", "b".repeat(200))] {
            assert_eq!(Origin::parse(bad), None, "{bad}");
        }
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>, text: String) {
            let _ = (Checkpoint::open(&bytes, &key(1)), VerifierKey::parse(&bytes), split_notes(&bytes));
            let _ = (Checkpoint::open(text.as_bytes(), &key(1)), VerifierKey::parse(text.as_bytes()));
        }
    }
}
