use super::*;

use std::sync::Arc;

use audit::{Caller, Class, JournalKey, Node, Options, Origin, SignError, Signer};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: AuditCommand,
}

struct Fixed(Ed25519KeyPair);

impl Signer for Fixed {
    fn public_key(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().unwrap()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        Ok(self.0.sign(message).as_ref().try_into().unwrap())
    }
}

struct NoKey;

impl JournalKey for NoKey {
    fn tag(&self, digest: &[u8; 32]) -> [u8; 32] {
        *digest
    }
}

fn record(id: u128, operation: &'static str, status: u16) -> Record {
    Record {
        id,
        time: 1_700_000_000_000 + i64::try_from(id).unwrap(),
        pool: "contoso".into(),
        node: "a".into(),
        operation: operation.into(),
        data_action: None,
        caller: Some(Caller {
            principal: "p-1".into(),
            tenant: "t".into(),
            application: None,
            upn: None,
            token_id: None,
            issuer: "https://login.example".into(),
        }),
        source: Some("192.0.2.7".parse().unwrap()),
        correlation: None,
        request_id: None,
        request: None,
        user_agent: Some("\u{1b}[2J\u{9b}".into()),
        scope: Some("/keys/orders".into()),
        key_version: Some(0xaa),
        algorithm: None,
        status,
        code: (status >= 400).then(|| "AccessDenied".into()),
        reason: None,
        duration_us: None,
        change: None,
        count: None,
    }
}

/// A node's folder with two logs, whose records alternate in time.
async fn node() -> tempfile::TempDir {
    node_of(3).await
}

/// The same with `most` records in each, the third of which says that the operation succeeded if `most` is not 3.
async fn node_of(most: u128) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 256 * 1024, ..Options::default() };
    let node = Node::open(folder.path(), options, Arc::new(NoKey)).unwrap();
    for (seed, pool) in [(1, "x"), (2, "y")] {
        let signer = Arc::new(Fixed(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()));
        let log = node.log(&Origin::parse(&format!("strongroom.dev/{pool}/a")).unwrap(), signer).unwrap();
        for i in 0..most {
            let id = u128::from(seed) + 2 * i;
            let (operation, status) = if id == 3 && most == 3 { ("KeyVerify", 403) } else { ("KeySign", 200) };
            log.append(&record(id, operation, status), Class::Authenticated).await.unwrap();
        }
        log.checkpoint().await.unwrap();
    }
    node.close();
    folder
}

/// Exit code, standard output and standard error.
fn played(words: &[&str]) -> (u8, String, String) {
    let (code, output, errors) = run_of(words);
    (code.unwrap(), output, errors)
}

fn run_of(words: &[&str]) -> (Result<u8, Error>, String, String) {
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    let mut around = Surroundings {
        environment: &|_| None,
        input: None,
        output: &mut output,
        errors: &mut errors,
        prompt: &|_| Err(std::io::ErrorKind::Unsupported.into()),
    };
    let line = Line::try_parse_from(std::iter::once(&"audit").chain(words)).unwrap();
    let code = run(line.command, &mut around);
    (code, String::from_utf8(output).unwrap(), String::from_utf8(errors).unwrap())
}

fn log(folder: &tempfile::TempDir, pool: &str) -> String {
    folder.path().join(format!("strongroom.dev+{pool}+a")).display().to_string()
}

fn key(log: &str) -> String {
    fs::read_to_string(Path::new(log).join(LOG_KEY)).unwrap().trim_end().to_owned()
}

#[tokio::test]
async fn every_log_of_a_node_is_verified_and_needs_its_own_key() {
    let folder = node().await;
    let path = folder.path().display().to_string();
    let (code, output, errors) = played(&["verify", &path]);
    assert_eq!((code, errors.as_str(), output.matches("3 records").count()), (0, "", 2), "{output}");
    assert!(output.contains("strongroom.dev/x/a") && output.contains("its own folder"), "{output}");

    let (x, y) = (log(&folder, "x"), log(&folder, "y"));
    let (code, output, _) = played(&["verify", &path, "--key", &key(&y), "--key", &key(&x)]);
    assert_eq!((code, output.contains("its own folder")), (0, false), "{output}");
    let (code, output, errors) = played(&["verify", &path, "--key", &key(&x)]);
    assert_eq!((code, output.matches("3 records").count()), (1, 1), "{output}");
    assert!(errors.starts_with("error: Audit: ") && errors.contains("+y+a"), "{errors}");
    let (code, _, errors) = played(&["verify", &x, "--key", &key(&y)]);
    assert_eq!(code, 1, "{errors}");
}

#[tokio::test]
async fn a_changed_log_does_not_verify_and_the_others_still_do() {
    let folder = node().await;
    let x = log(&folder, "x");
    // The history of checkpoints: any change makes a signature false.
    let checkpoint = Path::new(&x).join("checkpoint");
    let text = fs::read_to_string(&checkpoint).unwrap();
    fs::write(&checkpoint, text.replacen("\n3\n", "\n2\n", 1)).unwrap();
    let (code, output, errors) = played(&["verify", &folder.path().display().to_string()]);
    assert_eq!((code, output.matches("Verified").count(), errors.lines().count()), (1, 1, 1), "{output}{errors}");
}

#[tokio::test]
async fn a_log_written_anew_by_the_owner_of_its_key_is_refused_by_a_checkpoint_kept_elsewhere() {
    let elsewhere = tempfile::tempdir().unwrap();
    let kept = elsewhere.path().join("kept").display().to_string();
    let folder = node().await;
    fs::copy(Path::new(&log(&folder, "x")).join("checkpoint"), &kept).unwrap();
    let path = folder.path().display().to_string();
    let (code, output, errors) = played(&["verify", &path, "--checkpoint", &kept]);
    assert_eq!((code, errors.as_str(), output.matches("1, consistent with this log").count()), (0, "", 1), "{output}");

    // Signed by the same key, in itself without a flaw, longer, and its second record is another one.
    let anew = node_of(5).await;
    let (path, x) = (anew.path().display().to_string(), log(&anew, "x"));
    assert_eq!(key(&x), key(&log(&folder, "x")));
    assert_eq!(played(&["verify", &path]).0, 0);
    let (code, output, errors) = played(&["verify", &path, "--checkpoint", &kept]);
    assert_eq!((code, output.matches("Verified").count()), (1, 1), "the other log is as good as it was: {output}");
    assert!(errors.contains("the first 3 records are not those of the checkpoint of that size"), "{errors}");

    // One that was cut off is refused as well.
    fs::copy(Path::new(&x).join("checkpoint"), &kept).unwrap();
    let (code, _, errors) = played(&["verify", &log(&folder, "x"), "--checkpoint", &kept]);
    assert_eq!((code, errors.contains("holds 3 records, and its checkpoint is about 5")), (1, true), "{errors}");
}

#[tokio::test]
async fn a_kept_checkpoint_that_no_log_is_held_to_is_an_error() {
    let folder = node().await;
    let (x, y) = (log(&folder, "x"), log(&folder, "y"));
    let kept = folder.path().join("kept").display().to_string();
    let note = fs::read_to_string(Path::new(&y).join("checkpoint")).unwrap();
    for (text, says) in [
        (note.clone(), "strongroom.dev/y/a, which is none of these logs"),
        (String::new(), "holds no checkpoint"),
        (note[..note.len() - 1].to_owned(), "holds no checkpoint"),
        (note.clone() + "more", "only a part of one"),
        (note.replace("dev/y/a", "dev/x/a"), "holds a checkpoint that is not this log's"),
    ] {
        fs::write(&kept, text).unwrap();
        let line = match run_of(&["verify", &x, "--checkpoint", &kept]) {
            (Ok(code), _, errors) => {
                assert_eq!(code, 1, "{says}");
                errors
            }
            (Err(error), ..) => error.line(),
        };
        assert!(line.contains(says), "{line}");
    }
}

#[tokio::test]
async fn a_record_is_proven_by_its_number_and_by_its_id() {
    let folder = node_of(300).await;
    let x = log(&folder, "x");
    let (code, output, errors) = played(&["verify", &x, "--record", "257"]);
    assert_eq!((code, errors.as_str()), (0, ""), "{output}");
    let lines = |what: &str| -> Vec<String> {
        let of = output.lines().filter(|line| line.starts_with(what));
        of.map(|line| line.split_once("  ").unwrap().1.trim().to_owned()).collect()
    };
    let hash = |text: &String| -> Hash {
        let byte = |at: usize| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap();
        std::array::from_fn(byte)
    };
    // Who has the lines needs nothing else.
    let entry = base64url::decode(&lines("Entry")[0]).unwrap();
    let shown: Record = serde_json::from_str(&lines("Is")[0]).unwrap();
    assert_eq!((Record::parse(&entry).unwrap(), shown), (record(515, "KeySign", 200), record(515, "KeySign", 200)));
    let (leaf, path) = (audit::leaf_hash(&entry), lines("Beside").iter().map(hash).collect::<Vec<_>>());
    assert_eq!(hash(&lines("Leaf")[0]), leaf);
    let root = hash(&lines("Signed root")[0]);
    assert!(audit::verify_inclusion(&leaf, 257, 300, &path, &root));
    assert_eq!(hash(&lines("Root")[0]), root);

    let id = Uuid::from_u128(515).to_string();
    assert_eq!(played(&["verify", &x, "--record", &id]).1, output);
    for (words, says) in [
        (&["verify", x.as_str(), "--record", "300"][..], "signs 300 records"),
        (&["verify", x.as_str(), "--record", &Uuid::from_u128(2).to_string()], "holds no record"),
        (&["verify", &folder.path().display().to_string(), "--record", "1"], "is about one log, and these are 2"),
    ] {
        let line = match run_of(words) {
            (Ok(code), _, errors) => {
                assert_eq!(code, 1, "{says}");
                errors
            }
            (Err(error), ..) => error.line(),
        };
        assert!(line.contains(says), "{line}");
    }
}

#[tokio::test]
async fn records_of_several_logs_are_shown_in_the_order_of_their_times() {
    let folder = node().await;
    let (x, y) = (log(&folder, "x"), log(&folder, "y"));
    let (_, output, _) = played(&["show", &y, &x]);
    let lines: Vec<&str> = output.lines().collect();
    assert_eq!(lines.len(), 7, "{output}");
    assert!(lines[0].starts_with("TIME  ") && lines.iter().skip(1).is_sorted(), "{output}");
    assert_eq!(
        lines[3],
        "2023-11-14T22:13:20.003Z  KeyVerify               403 AccessDenied  p-1                                   \
         192.0.2.7        /keys/orders/000000000000000000000000000000aa"
    );
    let (_, again, _) = played(&["show", &folder.path().display().to_string()]);
    assert_eq!(again, output);
}

#[tokio::test]
async fn filters_hold_together_and_json_is_one_printable_object_a_line() {
    let folder = node().await;
    let path = folder.path().display().to_string();
    let shown = |words: &[&str]| {
        let mut all = vec!["show", path.as_str(), "--output", "json"];
        all.extend(words);
        played(&all).1
    };
    let count = |words: &[&str]| shown(words).lines().count();
    assert_eq!(count(&[]), 6);
    assert_eq!(count(&["--outcome", "failure"]), 1);
    assert_eq!(count(&["--outcome", "200", "--operation", "keysign", "--key", "ORDERS", "--caller", "P-1"]), 5);
    assert_eq!(count(&["--outcome", "failure", "--operation", "KeySign"]), 0);
    assert_eq!((count(&["--key", "other"]), count(&["--caller", "other"])), (0, 0));
    assert_eq!((count(&["--since", "1700000000"]), count(&["--since", "1700000001"])), (6, 0));
    assert_eq!((count(&["--until", "1700000000"]), count(&["--until", "2024-01-01"])), (0, 6));

    let json = shown(&["--outcome", "failure"]);
    assert!(!json.trim_end().contains(char::is_control), "{json:?}");
    let read: Record = serde_json::from_str(&json).unwrap();
    assert_eq!(read, record(3, "KeyVerify", 403));
}
