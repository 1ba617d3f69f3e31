//! Where a pool keeps what. Names stand in clear, in lower case; values are sealed.

use std::fmt::Write;

use model::rbac::{Guid, Scope};
use model::{KeyName, KeyVersion, PoolName};
use store::{Path, Prefix};
use uuid::Uuid;

/// The paths of one pool.
#[derive(Clone, Debug)]
pub(crate) struct Paths {
    root: String,
}

/// What a stored value is, as its path says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Head,
    Root,
    Properties,
    Settings,
    Key,
    /// With the folded name of its key.
    KeyVersion(Box<str>, KeyVersion),
    RoleDefinition,
    RoleAssignment,
    Outbox,
    Log,
}

impl Paths {
    pub(crate) fn new(pool: &PoolName) -> Self {
        Self { root: format!("pools/{pool}") }
    }

    fn path(&self, tail: std::fmt::Arguments<'_>) -> Path {
        Path::parse(&format!("{}/{tail}", self.root)).expect("names are parsed into the characters that paths allow")
    }

    pub(crate) fn all(&self) -> Prefix {
        Prefix::parse(&format!("{}/", self.root)).expect("a pool's name is legal in a path")
    }

    pub(crate) fn head(&self) -> Path {
        self.path(format_args!("head"))
    }

    pub(crate) fn root(&self) -> Path {
        self.path(format_args!("root"))
    }

    pub(crate) fn properties(&self) -> Path {
        self.path(format_args!("properties"))
    }

    pub(crate) fn settings(&self) -> Path {
        self.path(format_args!("settings"))
    }

    pub(crate) fn key(&self, name: &KeyName) -> Path {
        self.path(format_args!("keys/{}", name.folded()))
    }

    pub(crate) fn key_version(&self, name: &KeyName, version: KeyVersion) -> Path {
        self.path(format_args!("keys/{}/{version}", name.folded()))
    }

    pub(crate) fn role_definition(&self, id: Guid) -> Path {
        self.path(format_args!("roles/definitions/{id}"))
    }

    pub(crate) fn role_assignment(&self, scope: &Scope, name: Guid) -> Path {
        match scope {
            Scope::Root => self.path(format_args!("roles/assignments/root/{name}")),
            Scope::Keys => self.path(format_args!("roles/assignments/keys/{name}")),
            Scope::Key(key) => self.path(format_args!("roles/assignments/key/{}/{name}", key.folded())),
        }
    }

    pub(crate) fn outbox(&self, id: Uuid) -> Path {
        self.path(format_args!("outbox/{id}"))
    }

    /// What is known of a node's audit log. Names of nodes may hold what paths may not.
    pub(crate) fn log(&self, node: &str) -> Path {
        let mut name = String::with_capacity(2 * node.len());
        for byte in node.bytes() {
            write!(name, "{byte:02x}").expect("text takes everything");
        }
        self.path(format_args!("logs/{name}"))
    }

    /// What stands at `path`; `None` for a path that this version of the program does not write.
    pub(crate) fn kind(&self, path: &Path) -> Option<Kind> {
        let tail = path.as_str().strip_prefix(&self.root)?.strip_prefix('/')?;
        let segments: Vec<&str> = tail.split('/').collect();
        Some(match segments.as_slice() {
            ["head"] => Kind::Head,
            ["root"] => Kind::Root,
            ["properties"] => Kind::Properties,
            ["settings"] => Kind::Settings,
            ["keys", _] => Kind::Key,
            ["keys", name, version] => Kind::KeyVersion((*name).into(), KeyVersion::parse(version).ok()?),
            ["roles", "definitions", _] => Kind::RoleDefinition,
            ["roles", "assignments", "root" | "keys", _] | ["roles", "assignments", "key", _, _] => {
                Kind::RoleAssignment
            }
            ["outbox", _] => Kind::Outbox,
            ["logs", _] => Kind::Log,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_is_recognised_as_what_was_written_there() {
        let paths = Paths::new(&PoolName::parse("dev").unwrap());
        let key = KeyName::parse("Orders").unwrap();
        let version = KeyVersion([7; 16]);
        let guid = Guid(5);
        for (path, kind) in [
            (paths.head(), Kind::Head),
            (paths.root(), Kind::Root),
            (paths.properties(), Kind::Properties),
            (paths.settings(), Kind::Settings),
            (paths.key(&key), Kind::Key),
            (paths.key_version(&key, version), Kind::KeyVersion("orders".into(), version)),
            (paths.role_definition(guid), Kind::RoleDefinition),
            (paths.role_assignment(&Scope::Root, guid), Kind::RoleAssignment),
            (paths.role_assignment(&Scope::Keys, guid), Kind::RoleAssignment),
            (paths.role_assignment(&Scope::Key(key.clone()), guid), Kind::RoleAssignment),
            (paths.outbox(Uuid::nil()), Kind::Outbox),
            (paths.log("Node-1 \u{fc}"), Kind::Log),
        ] {
            assert_eq!(paths.kind(&path), Some(kind), "{}", path.as_str());
            assert!(paths.all().contains(&path));
        }
        assert_eq!(paths.kind(&Path::parse("pools/dev/other").unwrap()), None);
        assert_eq!(paths.kind(&Path::parse("pools/device/head").unwrap()), None);
    }
}
