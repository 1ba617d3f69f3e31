//! What a developer reads, and what their programs read.

use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;

use model::PoolName;
use model::rbac::Guid;
use uuid::Uuid;

use super::DOMAIN;
use super::first_job::Step;
use crate::issuer::Secret;

/// A ready account.
pub(super) struct Person {
    pub(super) name: &'static str,
    pub(super) role: Option<Guid>,
    pub(super) role_name: &'static str,
    pub(super) client: Uuid,
    pub(super) object: Uuid,
    pub(super) secret: Secret,
}

/// Everything there is to tell.
pub(super) struct Banner {
    pub(super) pool: PoolName,
    pub(super) port: u16,
    pub(super) tenant: Uuid,
    /// Absolute.
    pub(super) ca_file: PathBuf,
    /// Absolute.
    pub(super) folder: PathBuf,
    /// Whether the folder outlives the process.
    pub(super) kept: bool,
    pub(super) people: Vec<Person>,
}

impl Banner {
    pub(super) fn pool_host(&self) -> String {
        format!("{}.managedhsm.{DOMAIN}", self.pool.as_str())
    }

    pub(super) fn login_host(&self) -> String {
        format!("login.{DOMAIN}")
    }

    pub(super) fn pool_url(&self) -> String {
        format!("https://{}:{}", self.pool_host(), self.port)
    }

    /// Where tokens are had, without the tenant.
    pub(super) fn authority(&self) -> String {
        format!("https://{}:{}", self.login_host(), self.port)
    }

    pub(super) fn person(&self, name: &str) -> Option<&Person> {
        self.people.iter().find(|person| person.name == name)
    }

    /// `NAME=value` lines for programs and shells.
    pub(super) fn env_file(&self) -> String {
        let mut lines = String::new();
        let mut add = |name: &str, value: &str| {
            // Writing to a string does not fail.
            let _ = writeln!(lines, "STRONGROOM_{name}={}", quoted(value));
        };
        add("POOL_URL", &self.pool_url());
        add("CA_FILE", &self.ca_file.to_string_lossy());
        add("AUTHORITY", &self.authority());
        add("TENANT_ID", &self.tenant.to_string());
        add("DATA_FOLDER", &self.folder.to_string_lossy());
        for person in &self.people {
            add(&format!("{}_CLIENT_ID", person.name), &person.client.to_string());
            add(&format!("{}_CLIENT_SECRET", person.name), person.secret.reveal());
            add(&format!("{}_OBJECT_ID", person.name), &person.object.to_string());
        }
        lines
    }

    /// The text for a terminal. `resolves`: whether the system finds the pool's name on this machine.
    pub(super) fn text(&self, steps: &[Step], started: Duration, resolves: bool, colours: bool) -> String {
        let bold = |text: &str| if colours { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() };
        let warn = |text: &str| if colours { format!("\x1b[33m{text}\x1b[0m") } else { text.to_owned() };
        let mut out = String::new();
        let mut line = |text: &str| {
            out.push_str(text.trim_end());
            out.push('\n');
        };

        line("");
        line(&bold(&format!("Strongroom: pool {:?} is ready after {}", self.pool.as_str(), millis(started))));
        line("");
        line(&format!("  pool       {}", bold(&self.pool_url())));
        line(&format!("  authority  {}", self.authority()));
        line(&format!("  tenant     {}", self.tenant));
        line(&format!("  CA file    {}", self.ca_file.display()));
        if self.kept {
            line(&format!("  data       {}", self.folder.display()));
            line(&warn("  seal       KEY FILE in the data folder: for development, not for keys that matter"));
        } else {
            line("  data       in memory: everything goes when this ends");
        }
        let folder = quoted(&self.folder.to_string_lossy()).into_owned();
        line(&format!("  clock      strongroom dev clock advance 90d --data {folder}"));
        line("");
        line(&bold(
            "  account  client id                             client secret                                role at /",
        ));
        for person in &self.people {
            line(&format!("  {:<8} {}  {}  {}", person.name, person.client, person.secret.reveal(), person.role_name));
        }
        line("");
        line(&bold("  First job, through the front door"));
        for step in steps {
            line(&format!("    {:<24} {:>9}", step.what, millis(step.took)));
        }
        line("");
        let (authority, url, flags) = match resolves {
            true => (self.authority(), self.pool_url(), None),
            false => {
                line(&warn(&format!("  {} does not resolve on this machine. Either", self.pool_host())));
                line(&format!(
                    "    echo '127.0.0.1 {} {}' | sudo tee -a /etc/hosts",
                    self.pool_host(),
                    self.login_host()
                ));
                line("  or use https://localhost and switch off one check in the client, as below.");
                line("");
                let local = format!("https://localhost:{}", self.port);
                (local.clone(), local, Some(", verify_challenge_resource=False"))
            }
        };
        if let Some(user) = self.person("USER") {
            line(&bold("  Environment for azure-identity (account USER)"));
            line(&format!("    export AZURE_AUTHORITY_HOST={authority} AZURE_TENANT_ID={}", self.tenant));
            line(&format!(
                "    export AZURE_CLIENT_ID={} AZURE_CLIENT_SECRET={}",
                user.client,
                quoted(user.secret.reveal())
            ));
            let ca = quoted(&self.ca_file.to_string_lossy()).into_owned();
            line(&format!("    export REQUESTS_CA_BUNDLE={ca}"));
            line(&format!("    export NODE_EXTRA_CA_CERTS={ca}"));
            line("");
        }
        line(&bold("  Python: pip install azure-identity azure-keyvault-keys"));
        line("    from azure.identity import EnvironmentCredential; from azure.keyvault.keys import KeyClient");
        line(&format!(
            "    client = KeyClient(\"{url}\", EnvironmentCredential(disable_instance_discovery=True){})",
            flags.unwrap_or_default()
        ));
        line("    print(client.create_ec_key(\"hello\", curve=\"P-256\", hardware_protected=True).id)");
        line("");
        line(&bold("  JavaScript (hello.mjs): npm install @azure/identity @azure/keyvault-keys"));
        line(
            "    import { EnvironmentCredential } from \"@azure/identity\"; import { KeyClient } from \"@azure/keyvault-keys\";",
        );
        let js_flags = flags.map_or("", |_| ", { disableChallengeResourceVerification: true }");
        line(&format!(
            "    const client = new KeyClient(\"{url}\", new EnvironmentCredential({{ disableInstanceDiscovery: true }}){js_flags});"
        ));
        line("    console.log((await client.createEcKey(\"hello\", { curve: \"P-256\", hsm: true })).id);");
        line("");
        line("  Ctrl-C stops it.");
        line("");
        out
    }
}

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

/// A value as a shell takes it in one word.
fn quoted(value: &str) -> std::borrow::Cow<'_, str> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"/._-:+@%,=".contains(&b);
    if !value.is_empty() && value.bytes().all(plain) {
        value.into()
    } else {
        format!("'{}'", value.replace('\'', r"'\''")).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_one_word_of_a_shell() {
        assert_eq!(quoted("/home/me/ca.pem"), "/home/me/ca.pem");
        assert_eq!(quoted("/home/my files/ca.pem"), "'/home/my files/ca.pem'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    fn banner() -> Banner {
        let person = |(number, (name, role, role_name)): (u128, (&'static str, Option<Guid>, &'static str))| Person {
            name,
            role,
            role_name,
            client: Uuid::from_u128(0xc0_0000 + number),
            object: Uuid::from_u128(0x0b_0000 + number),
            secret: Secret::known(&format!("{number}").repeat(43)),
        };
        Banner {
            pool: PoolName::parse("dev").unwrap(),
            port: 8443,
            tenant: super::super::TENANT,
            ca_file: "/home/me/my project/.strongroom/tls/ca.pem".into(),
            folder: "/home/me/my project/.strongroom".into(),
            kept: true,
            people: (1..).zip(super::super::ACCOUNTS).map(person).collect(),
        }
    }

    fn printed(banner: &Banner, resolves: bool) -> String {
        let steps = [
            Step { what: "create an EC P-256 key", took: Duration::from_micros(2_345) },
            Step { what: "sign", took: Duration::from_micros(456) },
        ];
        banner.text(&steps, Duration::from_micros(123_456), resolves, false)
    }

    #[test]
    fn where_names_resolve_the_programs_keep_every_check() {
        let text = printed(&banner(), true);
        assert_eq!(text, include_str!("banner/names_resolve.txt"));
        assert!(!text.contains("verify_challenge_resource") && !text.contains("disableChallengeResourceVerification"));
    }

    #[test]
    fn where_names_do_not_resolve_the_banner_says_what_to_do() {
        assert_eq!(printed(&banner(), false), include_str!("banner/names_do_not_resolve.txt"));
    }

    #[test]
    fn a_pool_in_memory_says_that_it_keeps_nothing() {
        let text = printed(&Banner { kept: false, ..banner() }, true);
        assert!(text.contains("in memory: everything goes when this ends") && !text.contains("KEY FILE"), "{text}");
    }

    #[test]
    fn colours_change_no_word() {
        let (banner, steps) = (banner(), []);
        let coloured = banner.text(&steps, Duration::ZERO, false, true);
        let plain = coloured.replace("\x1b[1m", "").replace("\x1b[33m", "").replace("\x1b[0m", "");
        assert_ne!(coloured, plain);
        assert_eq!(plain, banner.text(&steps, Duration::ZERO, false, false));
    }
}
