//! The command line against a running pool: the whole life of a key, of a role and of a setting, as a person types them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::node::{Node, ephemeral, free_port, program, run};

/// A pool, and commands to it in its folder.
struct Shell {
    node: Node,
    base: PathBuf,
}

impl Shell {
    fn start(base: &Path) -> Self {
        let (node, _) = ephemeral(base, free_port());
        Self { node, base: base.to_owned() }
    }

    /// Runs a command line as one of the ready accounts; words are apart by spaces.
    fn run(&self, account: &str, line: &str) -> Output {
        let mut command = program(line.split(' '));
        // Nothing of whoever runs the tests.
        command.env_clear().env("HOME", &self.base).current_dir(&self.base).stdin(Stdio::null());
        command.args(["--env-file", "env", "--as", account]).output().unwrap()
    }

    /// What a command says that does what it should.
    fn says(&self, account: &str, line: &str) -> String {
        let output = self.run(account, line);
        let (said, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && errors.is_empty(), "{line}: {said}{errors}");
        said
    }

    /// The same, as JSON.
    fn json(&self, account: &str, line: &str) -> Value {
        let said = self.says(account, &format!("{line} --output json"));
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{line}: {error}: {said}"))
    }

    /// The one line of a refusal.
    fn refused(&self, account: &str, line: &str) -> String {
        let output = self.run(account, line);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), errors.lines().count()), (Some(1), 1), "{line}: {errors}");
        assert!(output.stdout.is_empty(), "{line}");
        errors
    }

    fn file(&self, name: &str) -> Vec<u8> {
        fs::read(self.base.join(name)).unwrap()
    }
}

/// The value of a fact in a table.
fn fact(table: &str, name: &str) -> String {
    let line = table.lines().find(|line| line.starts_with(&format!("{name}  "))).unwrap_or_else(|| panic!("{table}"));
    line[name.len()..].trim().to_owned()
}

fn bytes(value: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap()
}

fn entries(json: &Value) -> usize {
    json["value"].as_array().unwrap().len()
}

#[test]
fn a_key_is_made_used_rotated_deleted_recovered_and_destroyed() {
    let base = tempfile::tempdir().unwrap();
    let shell = Shell::start(base.path());
    fs::write(base.path().join("message"), "pay 100 to Ada").unwrap();
    fs::write(base.path().join("other"), "pay 900 to Eve").unwrap();

    let made = shell.says("user", "key create life --kty EC --curve P-256 --ops sign,verify --tag team=pay");
    assert_eq!((fact(&made, "Type"), fact(&made, "Tags")), ("EC-HSM P-256".to_owned(), "team=pay".to_owned()));
    let first = fact(&made, "Version");
    let shown = shell.json("user", "key show life");
    assert_eq!(shell.json("auditor", &format!("key show life/{first}")), shown);
    assert!(shown["key"]["kid"].as_str().unwrap().ends_with(&format!("/keys/life/{first}")), "{shown}");
    assert!(shell.says("user", "key list").lines().any(|line| line.starts_with("life  ")));

    shell.says("user", "key sign life --alg ES256 --message message --out signature");
    let point = [vec![4], bytes(&shown["key"]["x"]), bytes(&shown["key"]["y"])].concat();
    let outside = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    outside.verify(&shell.file("message"), &shell.file("signature")).expect("another library says so too");
    let verify = "key verify life --alg ES256 --signature-file signature --message";
    assert_eq!(shell.says("user", &format!("{verify} message")), "Signature  good\n");
    let wrong = shell.run("user", &format!("{verify} other"));
    assert_eq!((wrong.status.code(), &wrong.stdout[..]), (Some(1), &b"Signature  not good\n"[..]));

    let disabled = shell.json("user", "key update life --enabled false --no-tags");
    assert_eq!((disabled["attributes"]["enabled"].clone(), disabled["tags"].as_object()), (false.into(), None));
    assert!(shell.refused("user", "key sign life --alg ES256 --message message").contains("(403)"));
    shell.says("user", "key update life --enabled true");

    assert!(shell.refused("user", "key rotate life").starts_with("error: "), "there is no policy");
    shell.says("user", "key rotation-policy set life --expires-after P2Y --rotate-before-expiry P30D");
    assert!(shell.says("user", "key rotation-policy show life").contains("P30D"));
    let second = fact(&shell.says("user", "key rotate life"), "Version");
    assert_ne!(second, first);
    assert_eq!(entries(&shell.json("user", "key versions life")), 2);
    assert_eq!(fact(&shell.says("user", "key show life"), "Version"), second);
    let of_first = format!("key verify life/{first} --alg ES256 --signature-file signature --message message");
    assert_eq!(shell.says("user", &of_first), "Signature  good\n", "what the former version signed stays good");

    let deleted = shell.says("user", "key delete life");
    assert!(fact(&deleted, "Purged on") > fact(&deleted, "Deleted"));
    assert!(shell.refused("user", "key show life").contains("KeyNotFound"));
    assert_eq!(entries(&shell.json("officer", "key list-deleted")), 1);
    assert_eq!(fact(&shell.says("officer", "key show-deleted life"), "Version"), second);
    assert_eq!(fact(&shell.says("officer", "key recover life"), "Version"), second);
    assert_eq!(entries(&shell.json("user", "key versions life")), 2);
    shell.says("user", "key delete life");
    assert!(shell.refused("user", "key purge life").contains("not allowed (403)"));
    assert_eq!(shell.says("officer", "key purge life"), "life is destroyed\n");
    assert!(shell.refused("officer", "key show-deleted life").contains("not found (404)"));
    assert!(shell.node.stop().success());
}

#[test]
fn bytes_are_encrypted_wrapped_and_brought_in_and_come_back() {
    let base = tempfile::tempdir().unwrap();
    let shell = Shell::start(base.path());
    fs::write(base.path().join("plain"), "sixteen bytes ok").unwrap();
    shell.says("user", "key create box --kty oct --size 256");
    let sealed = shell.says("user", "key encrypt box --alg A256GCM --in plain --aad YQ --out cipher");
    assert_ne!(shell.file("cipher"), shell.file("plain"));
    let decrypt = format!(
        "key decrypt box --alg A256GCM --in cipher --iv={} --tag={}",
        fact(&sealed, "IV"),
        fact(&sealed, "Tag")
    );
    shell.says("user", &format!("{decrypt} --aad YQ --out back"));
    assert_eq!(shell.file("back"), shell.file("plain"));
    assert!(shell.refused("user", &format!("{decrypt} --aad Yg")).starts_with("error: "));
    let wrapped = shell.json("user", "key wrap box --alg A256KW --in plain");
    let unwrap = format!("key unwrap box --alg A256KW --value={}", wrapped["value"].as_str().unwrap());
    assert_eq!(bytes(&shell.json("user", &unwrap)["value"]), shell.file("plain"));

    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/../cli/tests/fixtures/p256-pkcs8.pem");
    fs::copy(fixture, base.path().join("key.pem")).unwrap();
    let brought = shell.json("user", "key import mine --pem key.pem --ops sign,verify");
    shell.says("user", "key sign mine --alg ES256 --message plain --out signature");
    let point = [vec![4], bytes(&brought["key"]["x"]), bytes(&brought["key"]["y"])].concat();
    let outside = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    outside.verify(&shell.file("plain"), &shell.file("signature")).expect("it is the key of the file");

    shell.says("user", "key random 24 --out random");
    assert_eq!(shell.file("random").len(), 24);
    let twice = [shell.json("user", "key random 32"), shell.json("user", "key random 32")];
    assert_ne!(twice[0], twice[1]);
    assert!(shell.node.stop().success());
}

#[test]
fn a_role_is_made_given_and_taken_away_and_a_setting_changed() {
    let base = tempfile::tempdir().unwrap();
    let shell = Shell::start(base.path());
    let env = crate::node::environment(&fs::read_to_string(base.path().join("env")).unwrap());
    let nobody = &env["STRONGROOM_NOBODY_OBJECT_ID"];
    shell.says("user", "key create orders --kty EC --curve P-256");

    let random = "--data-action Microsoft.KeyVault/managedHsm/keys/sign/action";
    let made = shell.says("admin", &format!("role definition create signer --description signs {random}"));
    assert!(shell.says("admin", "role definition list").lines().any(|line| line.starts_with("signer  ")));
    let shown = shell.says("admin", "role definition show SIGNER");
    assert_eq!((fact(&shown, "Id"), fact(&shown, "Grants").as_str()), (fact(&made, "Id"), &random[14..]));

    let sign = "key sign orders --alg ES256 --message env";
    assert!(shell.refused("nobody", sign).contains("AccessDenied"));
    let at = "--scope /keys/orders";
    let given = shell.says("admin", &format!("role assignment create --role signer --principal {nobody} {at}"));
    let name = fact(&given, "Name");
    shell.says("nobody", sign);
    assert!(shell.refused("nobody", "key show orders").contains("AccessDenied"), "it may sign and nothing else");
    let listed = shell.json("admin", &format!("role assignment list {at} --principal {nobody}"));
    assert_eq!((entries(&listed), &listed["value"][0]["name"]), (1, &Value::from(name.as_str())));
    assert_eq!(shell.json("admin", &format!("role assignment show {name} {at}")), listed["value"][0]);
    shell.says("admin", &format!("role assignment delete {name} {at}"));
    assert!(shell.refused("admin", &format!("role assignment show {name} {at}")).contains("not found (404)"));
    assert!(shell.refused("nobody", sign).contains("AccessDenied"));
    shell.says("admin", "role definition delete signer");
    assert!(shell.refused("admin", "role definition show signer").contains("no role is named"));

    let setting = "AllowKeyManagementOperationsThroughARM";
    assert_eq!(shell.json("admin", "setting list")["settings"][0]["value"], "false");
    assert_eq!(shell.json("admin", &format!("setting update {setting} true"))["value"], "true");
    assert_eq!(fact(&shell.says("admin", &format!("setting show {setting}")), "Value"), "true");
    assert!(shell.refused("user", "setting list").contains("AccessDenied"));
    assert!(shell.node.stop().success());
}

#[test]
fn completions_know_the_commands_of_the_whole_program() {
    for shell in ["bash", "zsh", "fish"] {
        let written = run(["completions", shell]);
        assert!(written.status.success() && written.stderr.is_empty(), "{shell}");
        let text = String::from_utf8(written.stdout).unwrap();
        for command in ["serve", "dev", "status", "audit", "rotation-policy", "env-file"] {
            assert!(text.contains(command), "{shell}: {command}");
        }
        if shell == "bash" {
            let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
            std::io::Write::write_all(&mut bash.stdin.take().unwrap(), text.as_bytes()).unwrap();
            assert!(bash.wait().unwrap().success(), "bash does not take its completions");
        }
    }
}
