//! The node key, a pool's root, and the master keys derived from it; see `SPEC.md`, section 1.

use std::fmt;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use model::PoolName;
use rustix::fs::{CWD, OFlags, RenameFlags};
use zeroize::Zeroizing;

use crate::Error;
use crate::lock::Locked;
use crate::log::JournalKey;
use crate::seal::{self, KEY, Purpose};

/// The node key encryption key: under it lie the roots of all pools of a cell.
///
/// Opaque, so that other seals (a PKCS#11 token, a quorum at start) can stand behind the same type.
pub struct NodeKey(Locked<KEY>);

impl NodeKey {
    /// Reads the key from a file, or makes the file with a fresh key if there is none.
    ///
    /// A new file appears under its name only when it is complete and durable; two processes that start together end
    /// up with the same key.
    ///
    /// # Errors
    /// [`Error::KeyFile`] if the file is not a regular file of exactly 32 bytes, if group or others have any right on
    /// it, if it belongs to another user, or if the operating system says no.
    pub fn load_or_create(path: &Path) -> Result<Self, Error> {
        match Self::load(path) {
            Err(Error::KeyFile { source: Some(missing), .. }) if missing.kind() == ErrorKind::NotFound => {
                create_file(path)?;
                Self::load(path)
            }
            other => other,
        }
    }

    /// A key that lives as long as this process and is never stored.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without memory or randomness.
    pub fn ephemeral() -> Result<Self, Error> {
        Locked::filled(|bytes| seal::random(bytes)).map(Self)
    }

    fn load(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::KeyFile { path: path.into(), problem: "cannot be read", source: Some(source) };
        let refused = |problem| Err(Error::KeyFile { path: path.into(), problem, source: None });
        // Without O_NONBLOCK, opening a pipe put in the file's place would hang.
        let flags = (OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK).bits().cast_signed();
        let mut file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if !meta.is_file() || meta.len() != KEY as u64 {
            return refused("is not a regular file of 32 bytes");
        }
        if meta.mode() & 0o077 != 0 {
            return refused("gives rights to group or others; its mode must be 0600");
        }
        if meta.uid() != 0 && meta.uid() != rustix::process::geteuid().as_raw() {
            return refused("belongs to another user");
        }
        Locked::filled(|bytes| file.read_exact(bytes).map_err(failed)).map(Self)
    }

    /// The key of this node's audit journal.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without memory.
    pub fn journal_key(&self) -> Result<JournalKey, Error> {
        JournalKey::derive(&self.0)
    }

    pub(crate) fn seal_root(&self, pool: &PoolName, root: &[u8; KEY]) -> Result<Vec<u8>, Error> {
        seal::seal(&self.0, Purpose::PoolRoot, &[pool.as_str().as_bytes()], root)
    }

    pub(crate) fn open_root(&self, pool: &PoolName, sealed: &[u8]) -> Result<Zeroizing<[u8; KEY]>, Error> {
        let root = seal::open(&self.0, Purpose::PoolRoot, &[pool.as_str().as_bytes()], sealed)?;
        root.as_slice().try_into().map(Zeroizing::new).map_err(|_| Error::Tampered)
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(..)")
    }
}

/// Writes 32 fresh bytes under a temporary name, syncs, and gives the file its name unless the name is taken.
fn create_file(path: &Path) -> Result<(), Error> {
    let failed = |source| Error::KeyFile { path: path.into(), problem: "cannot be created", source: Some(source) };
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut suffix = [0; 8];
    seal::random(&mut suffix)?;
    let temporary = folder.join(format!(".node-key-{:016x}", u64::from_be_bytes(suffix)));

    let mut key = Zeroizing::new([0; KEY]);
    seal::random(&mut *key)?;
    let made = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).and_then(|mut file| {
        file.write_all(&*key)?;
        file.sync_all()?;
        match rustix::fs::renameat_with(CWD, &temporary, CWD, path, RenameFlags::NOREPLACE) {
            Ok(()) => fs::File::open(folder)?.sync_all(),
            // Another process was faster; its key is the key.
            Err(rustix::io::Errno::EXIST) => fs::remove_file(&temporary),
            Err(errno) => Err(errno.into()),
        }
    });
    made.map_err(|source| {
        // The file holds a key that nothing was sealed under; it only must not lie about.
        let _ = fs::remove_file(&temporary);
        failed(source)
    })
}

/// The master keys of one pool, by purpose.
pub(crate) struct Masters(Locked<{ KEY * Master::ALL.len() }>);

/// The purposes of master keys.
#[derive(Clone, Copy)]
pub(crate) enum Master {
    KeySealing,
    KeyRecord,
    Value,
    Element,
    Head,
    Log,
    Identity,
}

impl Master {
    const ALL: [Self; 7] =
        [Self::KeySealing, Self::KeyRecord, Self::Value, Self::Element, Self::Head, Self::Log, Self::Identity];

    fn label(self) -> &'static str {
        match self {
            Self::KeySealing => "strongroom/1/master/key sealing",
            Self::KeyRecord => "strongroom/1/master/key record",
            Self::Value => "strongroom/1/master/value",
            Self::Element => "strongroom/1/master/element",
            Self::Head => "strongroom/1/master/head",
            Self::Log => "strongroom/1/master/log",
            Self::Identity => "strongroom/1/master/identity",
        }
    }
}

impl Masters {
    pub(crate) fn derive(root: &[u8; KEY]) -> Result<Self, Error> {
        Locked::filled(|bytes| {
            for (master, out) in Master::ALL.into_iter().zip(bytes.chunks_exact_mut(KEY)) {
                seal::derive(root, master.label(), b"", out)?;
            }
            Ok(())
        })
        .map(Self)
    }

    pub(crate) fn get(&self, master: Master) -> &[u8; KEY] {
        let start = master as usize * KEY;
        self.0[start..start + KEY].try_into().expect("a chunk of the page has the length of a key")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_file_is_made_once_and_read_ever_after() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        let first = NodeKey::load_or_create(&path).unwrap();
        let second = NodeKey::load_or_create(&path).unwrap();
        assert_eq!(*first.0, *second.0);
        assert_eq!(fs::read(&path).unwrap(), *first.0);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn a_key_file_that_others_could_read_or_of_another_length_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        NodeKey::load_or_create(&path).unwrap();
        for mode in [0o640, 0o604, 0o666, 0o610] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(matches!(NodeKey::load_or_create(&path), Err(Error::KeyFile { .. })), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        for length in [0, 31, 33] {
            fs::write(&path, vec![1; length]).unwrap();
            assert!(matches!(NodeKey::load_or_create(&path), Err(Error::KeyFile { .. })), "{length}");
        }
        let link = folder.path().join("link");
        fs::write(&path, [1; 32]).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(NodeKey::load_or_create(&link).is_err(), "a link is not followed");
        assert!(NodeKey::load_or_create(folder.path()).is_err(), "a folder is no key");
    }

    #[test]
    fn threads_that_race_to_create_the_file_get_the_same_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        let keys = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| *NodeKey::load_or_create(&path).unwrap().0)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }

    #[test]
    fn master_keys_differ_by_purpose_and_by_root() {
        let [a, b] = [1, 2].map(|byte| Masters::derive(&[byte; KEY]).unwrap());
        for (i, one) in Master::ALL.into_iter().enumerate() {
            assert_ne!(a.get(one), b.get(one));
            for other in Master::ALL.into_iter().skip(i + 1) {
                assert_ne!(a.get(one), a.get(other));
            }
        }
    }
}
