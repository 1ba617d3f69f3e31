use super::*;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// A home folder with a configuration file.
struct Home(tempfile::TempDir);

impl Home {
    fn with(config: &str) -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        fs::create_dir_all(home.0.path().join(".config/strongroom")).unwrap();
        home.file(".config/strongroom/config.toml", config, 0o600);
        home
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> String {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    }

    /// What the words and the variables come to; at the terminal somebody types `typed`.
    fn gather(&self, words: &[&str], variables: &[(&str, &str)]) -> Result<Configuration, Error> {
        let (mut output, mut errors, mut input) = (Vec::new(), Vec::new(), b"piped\n".as_slice());
        let home = self.0.path().display().to_string();
        let environment = |name: &str| {
            let set = variables.iter().find(|(set, _)| *set == name).map(|(_, value)| (*value).to_owned());
            set.or_else(|| (name == "HOME").then(|| home.clone()))
        };
        let mut around = Surroundings {
            environment: &environment,
            input: Some(&mut input),
            output: &mut output,
            errors: &mut errors,
            prompt: &|_| Ok("typed".to_owned()),
        };
        let line = Line::try_parse_from(std::iter::once(&"strongroom").chain(words)).unwrap();
        line.connection.gather(&mut around)
    }
}

const FILE: &str = r#"
pool = "https://file.example"
client_id = "from-file"
tenant = "file-tenant"
output = "json"
"#;

#[test]
fn a_flag_beats_the_environment_file_beats_the_environment_beats_the_configuration_file() {
    let home = Home::with(FILE);
    let named = home.file("dev.env", "# dev\nSTRONGROOM_POOL_URL=https://named.example:8443\n", 0o600);
    let variables = [("STRONGROOM_POOL_URL", "https://env.example"), ("STRONGROOM_CLIENT_ID", "")];
    let pool =
        |words: &[&str], variables: &[(&str, &str)]| home.gather(words, variables).unwrap().pool.as_str().to_owned();
    assert_eq!(pool(&[], &[]), "https://file.example");
    assert_eq!(pool(&[], &variables), "https://env.example");
    assert_eq!(pool(&["--env-file", &named], &variables), "https://named.example:8443");
    assert_eq!(pool(&["--env-file", &named, "--pool", "https://flag.example/"], &variables), "https://flag.example");

    let whole = home.gather(&[], &variables).unwrap();
    assert_eq!((whole.client_id.as_str(), whole.tenant.as_deref()), ("from-file", Some("file-tenant")));
    assert_eq!((whole.output, whole.client_secret.expose()), (Format::Json, "typed"));
    assert!(whole.verify_challenge_resource && whole.authority.is_none());
}

#[test]
fn xdg_config_home_is_respected_when_absolute() {
    let (home, other) = (Home::with(FILE), Home::with(""));
    fs::create_dir_all(other.0.path().join("strongroom")).unwrap();
    other.file("strongroom/config.toml", "pool = \"https://xdg.example\"\nclient_id = \"x\"\n", 0o600);
    let folder = other.0.path().display().to_string();
    let gathered = home.gather(&[], &[("XDG_CONFIG_HOME", &folder)]).unwrap();
    assert_eq!(gathered.pool.as_str(), "https://xdg.example");
    let gathered = home.gather(&[], &[("XDG_CONFIG_HOME", "relative")]).unwrap();
    assert_eq!(gathered.pool.as_str(), "https://file.example");
}

#[test]
fn a_secret_comes_from_a_file_standard_input_or_the_environment() {
    let home = Home::with(FILE);
    let path = home.file("secret", "in-file\n", 0o600);
    let secret = |words: &[&str], variables: &[(&str, &str)]| {
        home.gather(words, variables).unwrap().client_secret.expose().to_owned()
    };
    let variables = [("STRONGROOM_CLIENT_SECRET", "in-environment")];
    assert_eq!(secret(&["--client-secret-file", &path], &variables), "in-file");
    assert_eq!(secret(&["--client-secret-file", "-"], &variables), "piped");
    assert_eq!(secret(&[], &variables), "in-environment");

    let open = home.file("open", "in-file\n", 0o644);
    let refused = home.gather(&["--client-secret-file", &open], &[]).unwrap_err();
    assert!(matches!(refused, Error::Exposed { mode: 0o644, .. }));
}

#[test]
fn a_ready_account_takes_id_and_secret_from_one_place_only() {
    let home = Home::with(FILE);
    let lines = "STRONGROOM_USER_CLIENT_ID=u\nSTRONGROOM_USER_CLIENT_SECRET=us=er\nSTRONGROOM_CLIENT_ID=other\n";
    let named = home.file("dev.env", lines, 0o600);
    let user = home.gather(&["--env-file", &named, "--as", "user"], &[]).unwrap();
    assert_eq!((user.client_id.as_str(), user.client_secret.expose()), ("u", "us=er"));

    let line = home.gather(&["--env-file", &named, "--as", "admin"], &[]).unwrap_err().line();
    assert!(line.contains("STRONGROOM_ADMIN_CLIENT_ID"), "{line}");
    let exported = [("STRONGROOM_ADMIN_CLIENT_ID", "a"), ("STRONGROOM_ADMIN_CLIENT_SECRET", "as")];
    assert_eq!(home.gather(&["--as", "admin"], &exported).unwrap().client_secret.expose(), "as");
    assert!(Line::try_parse_from(["strongroom", "--as", "admin", "--client-id", "x"]).is_err());
}

#[test]
fn a_value_that_a_shell_would_split_stands_in_quotes() {
    let home = Home::with(FILE);
    for (written, meant) in [
        (r"'/my files/ca.pem'", "/my files/ca.pem"),
        (r"'/it'\''s/ca.pem'", "/it's/ca.pem"),
        ("/a'b/ca.pem", "/a'b/ca.pem"),
        ("'", "'"),
    ] {
        let named = home.file("dev.env", &format!("STRONGROOM_CA_FILE={written}\n"), 0o600);
        let read = home.gather(&["--env-file", &named], &[]).unwrap();
        assert_eq!(read.ca_file.unwrap(), Path::new(meant), "{written}");
    }
}

#[test]
fn an_environment_file_that_others_can_read_is_refused() {
    let home = Home::with(FILE);
    let named = home.file("dev.env", "A=b\n", 0o644);
    assert!(matches!(home.gather(&["--env-file", &named], &[]), Err(Error::Exposed { .. })));
    let broken = home.file("broken.env", "A=b\ns3cret\n", 0o600);
    let line = home.gather(&["--env-file", &broken], &[]).unwrap_err().line();
    assert!(line.ends_with("line 2: not NAME=value") && !line.contains("s3cret"), "{line}");
}

#[test]
fn a_configuration_file_that_others_can_read_or_that_knows_more_is_refused_without_being_repeated() {
    let home = Home::with(FILE);
    home.file(".config/strongroom/config.toml", FILE, 0o640);
    let line = home.gather(&[], &[]).unwrap_err().line();
    assert!(line.starts_with("error: FileExposed: ") && line.contains("(mode 0640)"), "{line}");

    for (text, number) in [
        ("pool = \"https://a\"\nclient_secret = \"s3cret\"\n", 2),
        ("verify_challenge_resource = \"s3cret\"\n", 1),
        ("pool = s3cret\n", 1),
        ("output = \"s3cret\"\n", 1),
    ] {
        let line = Home::with(text).gather(&[], &[]).unwrap_err().line();
        assert!(line.starts_with("error: Configuration: ") && line.contains(&format!("line {number}: ")), "{line}");
        assert!(!line.contains("s3cret"), "{line}");
    }
}

#[test]
fn what_is_missing_is_named_together_with_its_three_places() {
    let home = Home::with("");
    let line = home.gather(&[], &[]).unwrap_err().line();
    assert_eq!(
        line,
        "error: Configuration: no address of the pool; give --pool, STRONGROOM_POOL_URL or pool in the \
         configuration file"
    );
    assert!(home.gather(&["--pool", "https://a.b"], &[]).unwrap_err().line().contains("--client-id"));
    let absent = home.0.path().join("absent.toml").display().to_string();
    assert!(matches!(home.gather(&["--config", &absent], &[]), Err(Error::File { .. })));
}

#[test]
fn addresses_are_https_and_bare() {
    let home = Home::with("client_id = \"c\"");
    for bad in ["http://a.b", "a.b", "https://a.b/keys", "https://u:p@a.b", "https://a.b?x", "https://"] {
        assert!(home.gather(&["--pool", bad], &[]).is_err(), "{bad}");
        assert!(home.gather(&["--pool", "https://a.b", "--authority", bad], &[]).is_err(), "{bad}");
    }
    for bad in ["..", "a/b", "", "a b", "a?b"] {
        assert!(home.gather(&["--pool", "https://a.b", "--tenant", bad], &[]).is_err(), "{bad}");
    }
}
