//! What a command touches besides the network: its environment, the standard streams, files, the keyboard.

use std::fmt;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::Error;

/// The most bytes of a configuration file or a file with a secret.
const MAX_SMALL_FILE: u64 = 64 * 1024;
/// The most bytes of a message, a digest, a key file or any other input.
const MAX_INPUT: u64 = 256 * 1024 * 1024;

/// Where a command runs. Tests put a made-up one in its place.
pub(crate) struct Surroundings<'a> {
    /// An environment variable by its name.
    pub(crate) environment: &'a dyn Fn(&str) -> Option<String>,
    /// Standard input, until someone takes it.
    pub(crate) input: Option<&'a mut dyn Read>,
    /// Standard output.
    pub(crate) output: &'a mut dyn Write,
    /// Standard error.
    pub(crate) errors: &'a mut dyn Write,
    /// Asks at the terminal without echo, or fails where there is none.
    pub(crate) prompt: &'a dyn Fn(&str) -> io::Result<String>,
}

impl Surroundings<'_> {
    /// An environment variable that is set and not empty.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }

    /// Writes to standard output.
    pub(crate) fn print(&mut self, text: &str) -> Result<(), Error> {
        self.write(text.as_bytes())
    }

    /// Writes bytes to standard output as they are.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.output.write_all(bytes).map_err(|source| Error::file("standard output", source))
    }

    /// All of the file at `path`, or of standard input for `-`, which can be read once only.
    pub(crate) fn read(&mut self, path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
        if path == Path::new("-") {
            return bounded(self.take_input()?, MAX_INPUT).map_err(|source| Error::file("standard input", source));
        }
        let file = File::open(path).map_err(|source| Error::file(path.display(), source))?;
        bounded(file, MAX_INPUT).map_err(|source| Error::file(path.display(), source))
    }

    /// The secret in the file at `path`, or on standard input for `-`, without the line end behind it.
    ///
    /// # Errors
    /// [`Error::Exposed`] if others than the owner have any right to the file.
    pub(crate) fn read_secret(&mut self, path: &Path) -> Result<Secret, Error> {
        let text = if path == Path::new("-") {
            let bytes = bounded(self.take_input()?, MAX_SMALL_FILE);
            text(bytes, "standard input")?
        } else {
            read_private(path)?
        };
        Secret::new(text.trim_end_matches(['\r', '\n']))
            .ok_or_else(|| Error::Configuration(format!("{}: there is no secret in it", path.display())))
    }

    /// Asks for a secret at the terminal.
    pub(crate) fn ask(&self, question: &str) -> io::Result<Option<Secret>> {
        let answer = Zeroizing::new((self.prompt)(question)?);
        Ok(Secret::new(&answer))
    }

    fn take_input(&mut self) -> Result<&mut dyn Read, Error> {
        match self.input.take() {
            Some(input) => Ok(input),
            None => Err(Error::Usage("standard input (-) can be read for one thing only".to_owned())),
        }
    }
}

/// A client secret or a token. Wiped on drop, never shown.
pub(crate) struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a secret that is not empty.
    pub(crate) fn new(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self(Zeroizing::new(text.to_owned())))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The text of a small file that nobody but its owner may read or change.
///
/// # Errors
/// [`Error::Exposed`] for a file with any right for the group or others; [`Error::File`] if it cannot be read, is
/// longer than 64 KiB or is not UTF-8.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<String>, Error> {
    let failed = |source| Error::file(path.display(), source);
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(Error::Exposed { path: path.to_owned(), mode });
    }
    text(bounded(file, MAX_SMALL_FILE), path.display())
}

/// Writes a file that only its owner can read; from one that is there the rights of others are taken first, so that one of
/// somebody else's is refused.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let write = |mut file: File| {
        let metadata = file.metadata()?;
        // A pipe or a terminal has no rights that matter.
        if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
            file.set_permissions(Permissions::from_mode(0o600))?;
        }
        file.write_all(bytes)
    };
    options.open(path).and_then(write).map_err(|source| Error::file(path.display(), source))
}

fn bounded(input: impl Read, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    input.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {most} bytes")));
    }
    Ok(bytes)
}

fn text(bytes: io::Result<Zeroizing<Vec<u8>>>, place: impl fmt::Display) -> Result<Zeroizing<String>, Error> {
    let read = bytes.and_then(|bytes| match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "not UTF-8")),
    });
    read.map_err(|source| Error::file(place, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn with_mode(mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "s3cret\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        (folder, path)
    }

    #[test]
    fn a_file_that_others_can_read_or_change_is_refused() {
        for mode in [0o600, 0o400] {
            let (_folder, path) = with_mode(mode);
            assert_eq!(read_private(&path).unwrap().as_str(), "s3cret\n");
        }
        for mode in [0o640, 0o604, 0o620, 0o601, 0o666] {
            let (_folder, path) = with_mode(mode);
            let line = read_private(&path).unwrap_err().line();
            assert!(line.starts_with("error: FileExposed: ") && line.contains("chmod 600"), "{line}");
            assert!(!line.contains("s3cret"), "{line}");
        }
    }

    #[test]
    fn what_is_written_is_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        write_private(&path, b"longer than the next").unwrap();
        write_private(&path, b"plain").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"plain");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let (_folder, open) = with_mode(0o664);
        write_private(&open, b"plain").unwrap();
        assert_eq!(fs::metadata(&open).unwrap().permissions().mode() & 0o777, 0o600);
        write_private(Path::new("/dev/null"), b"plain").unwrap();
    }

    #[test]
    fn input_is_bounded() {
        assert!(bounded([0; 5].as_slice(), 5).is_ok());
        assert_eq!(bounded([0; 6].as_slice(), 5).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert!(text(Ok(Zeroizing::new(vec![0xff])), "x").is_err());
    }

    #[test]
    fn standard_input_is_read_once() {
        let (mut input, mut output, mut errors) = (b"s3cret\r\n".as_slice(), Vec::new(), Vec::new());
        let mut around = Surroundings {
            environment: &|_| None,
            input: Some(&mut input),
            output: &mut output,
            errors: &mut errors,
            prompt: &|_| Err(io::ErrorKind::Unsupported.into()),
        };
        let secret = around.read_secret(Path::new("-")).unwrap();
        assert_eq!((secret.expose(), format!("{secret:?}").as_str()), ("s3cret", "[secret]"));
        assert!(matches!(around.read(Path::new("-")), Err(Error::Usage(_))));
    }
}
