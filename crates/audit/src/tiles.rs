//! The settled form of a log: entry bundles and hash tiles, as C2SP tlog-tiles lays them out.

use std::io;
use std::path::{Path, PathBuf};

use crate::merkle::{Hash, Subtrees, perfect_root};

/// How many hashes or entries a full tile has.
pub(crate) const TILE: usize = 256;

/// The same as a count of records.
pub(crate) const TILE_SIZE: u64 = 256;

/// The most bytes of a bundle: 256 entries of the largest size that 16 bits can tell.
pub(crate) const MAX_BUNDLE_BYTES: u64 = TILE_SIZE * (2 + 65_535);

/// What a tile holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TileKind {
    /// Entries, each after its length.
    Entries,
    /// Hashes of the level: of leaves at 0, and of full tiles one level below elsewhere.
    Hashes(u8),
}

/// Names one tile.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TileName {
    /// What it holds.
    pub kind: TileKind,
    /// Its number within the level, from 0.
    pub number: u64,
    /// How many entries or hashes it has, 1 to 256.
    pub width: usize,
}

impl TileName {
    /// The path below the log's folder.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let full = self.full_path();
        if self.width == TILE {
            return full;
        }
        partials(&full).join(self.width.to_string())
    }

    /// Whether this is `other`, of the same width or a greater one.
    pub(crate) fn is_wider(&self, other: Self) -> bool {
        (self.kind, self.number) == (other.kind, other.number) && self.width >= other.width
    }

    /// The path of the tile once it is full.
    fn full_path(&self) -> PathBuf {
        let mut path = PathBuf::from("tile");
        match self.kind {
            TileKind::Entries => path.push("entries"),
            TileKind::Hashes(level) => path.push(level.to_string()),
        }
        let mut groups = vec![format!("{:03}", self.number % 1000)];
        let mut rest = self.number / 1000;
        while rest > 0 {
            groups.push(format!("x{:03}", rest % 1000));
            rest /= 1000;
        }
        path.extend(groups.iter().rev());
        path
    }
}

/// The folder of the partial forms of the tile at `full`.
fn partials(full: &Path) -> PathBuf {
    let mut name = full.as_os_str().to_owned();
    name.push(".p");
    name.into()
}

/// Bytes that are no tile.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a tile")]
pub struct TileError;

/// Cuts an entry bundle into its entries, 1 to 256.
///
/// # Errors
/// [`TileError`] if a length leads past the end, or if there are none or more than 256.
pub fn parse_bundle(bytes: &[u8]) -> Result<Vec<&[u8]>, TileError> {
    let mut entries = Vec::with_capacity(TILE);
    let mut rest = bytes;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<2>().ok_or(TileError)?;
        let (entry, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(TileError)?;
        entries.push(entry);
        rest = after;
        if entries.len() > TILE {
            return Err(TileError);
        }
    }
    if entries.is_empty() { Err(TileError) } else { Ok(entries) }
}

/// Cuts a hash tile into its hashes, 1 to 256.
///
/// # Errors
/// [`TileError`] if the length is not that of 1 to 256 hashes.
pub fn parse_hashes(bytes: &[u8]) -> Result<&[Hash], TileError> {
    match bytes.as_chunks::<32>() {
        (hashes, []) if (1..=TILE).contains(&hashes.len()) => Ok(hashes),
        _ => Err(TileError),
    }
}

/// Appends an entry to a bundle.
pub(crate) fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) {
    let length = u16::try_from(entry.len()).expect("a record is at most 32 KiB");
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
}

/// Entries and their leaf hashes, one for one.
#[derive(Default)]
pub(crate) struct Tail {
    /// In the form of a bundle.
    pub(crate) entries: Vec<u8>,
    /// The hash of each.
    pub(crate) leaves: Vec<Hash>,
}

impl Tail {
    pub(crate) fn push(&mut self, entry: &[u8], leaf: Hash) {
        push_entry(&mut self.entries, entry);
        self.leaves.push(leaf);
    }
}

/// The right edge of a log's tiles: what stands in no full tile yet.
#[derive(Default)]
pub(crate) struct Edge {
    /// How many full bundles stand before it.
    full: u64,
    /// The entries after them. Between two calls of [`Edge::complete`] these may be more than 256.
    tail: Tail,
    /// The unfinished tiles above the leaves, from level 1 on, each with fewer than 256 hashes.
    above: Vec<Vec<Hash>>,
}

impl Edge {
    /// How many records the tiles and the edge hold.
    pub(crate) fn size(&self) -> u64 {
        self.full * TILE_SIZE + self.tail.leaves.len() as u64
    }

    /// How many bytes of entries wait here for a tile.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.tail.entries.len() as u64
    }

    /// The entries that stand in no full bundle, in the form of a bundle.
    pub(crate) fn open_entries(&self) -> (u64, &[u8]) {
        (self.full * TILE_SIZE, &self.tail.entries)
    }

    /// The unfinished tiles, level 0 first.
    pub(crate) fn levels(&self) -> impl DoubleEndedIterator<Item = &[Hash]> {
        std::iter::once(&self.tail.leaves[..]).chain(self.above.iter().map(|level| &level[..]))
    }

    /// Takes over what was appended since.
    pub(crate) fn extend(&mut self, tail: &mut Tail) {
        self.tail.entries.append(&mut tail.entries);
        self.tail.leaves.append(&mut tail.leaves);
    }

    /// Writes every tile that is full now. After an error nothing is forgotten, and calling again writes the same.
    pub(crate) fn complete(&mut self, mut write: impl FnMut(TileName, &[u8]) -> io::Result<()>) -> io::Result<()> {
        let (mut taken, mut taken_bytes) = (0, 0);
        let result = loop {
            let Some(leaves) = self.tail.leaves.get(taken..taken + TILE) else { break Ok(()) };
            let entries = &self.tail.entries[taken_bytes..];
            let bundle = &entries[..bundle_length(entries, TILE)];
            let written = write(TileName { kind: TileKind::Entries, number: self.full, width: TILE }, bundle)
                .and_then(|()| complete_hashes(&mut self.above, self.full, leaves, &mut write));
            if let Err(error) = written {
                break Err(error);
            }
            self.full += 1;
            taken += TILE;
            taken_bytes += bundle.len();
        };
        self.tail.leaves.drain(..taken);
        self.tail.entries.drain(..taken_bytes);
        result
    }

    /// The partial tiles of the present size, which complete the picture together with the full ones.
    pub(crate) fn partial(&self, mut write: impl FnMut(TileName, &[u8]) -> io::Result<()>) -> io::Result<()> {
        for tile in partial_tiles(self.size()) {
            let bytes = match tile.kind {
                TileKind::Entries => &self.tail.entries,
                TileKind::Hashes(level) => self.levels().nth(usize::from(level)).map_or(&[][..], <[_]>::as_flattened),
            };
            write(tile, bytes)?;
        }
        Ok(())
    }

    /// Reads the edge of a log of `size` records back from its tiles.
    pub(crate) fn read(folder: &Path, size: u64) -> Result<Self, EdgeError> {
        let mut edge = Self { full: size / TILE_SIZE, ..Self::default() };
        let width = (size % TILE_SIZE) as usize;
        if width > 0 {
            let name = TileName { kind: TileKind::Entries, number: edge.full, width };
            edge.tail.entries = read_tile(folder, name)?;
            let entries = parse_bundle(&edge.tail.entries).map_err(|TileError| EdgeError::Wrong(name))?;
            if entries.len() != width {
                return Err(EdgeError::Wrong(name));
            }
            edge.tail.leaves = entries.iter().map(|entry| crate::merkle::leaf_hash(entry)).collect();
            let hashes = TileName { kind: TileKind::Hashes(0), ..name };
            if read_hashes(folder, hashes)? != edge.tail.leaves {
                return Err(EdgeError::Wrong(hashes));
            }
        }
        let mut above = size / TILE_SIZE;
        let mut level = 1;
        while above > 0 {
            let width = (above % TILE_SIZE) as usize;
            let hashes = if width == 0 {
                Vec::new()
            } else {
                let name = TileName { kind: TileKind::Hashes(level), number: above / TILE_SIZE, width };
                read_hashes(folder, name)?
            };
            edge.above.push(hashes);
            above /= TILE_SIZE;
            level += 1;
        }
        Ok(edge)
    }
}

/// Adds the hash of a full tile of leaves to the levels above, and writes those tiles that it completes.
fn complete_hashes(
    above: &mut Vec<Vec<Hash>>,
    number: u64,
    leaves: &[Hash],
    write: &mut impl FnMut(TileName, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut number = number;
    let mut carry = perfect_root(leaves);
    let mut completed = 0;
    write(TileName { kind: TileKind::Hashes(0), number, width: TILE }, leaves.as_flattened())?;
    while let Some(hashes) = above.get(completed)
        && hashes.len() + 1 == TILE
    {
        let mut tile = hashes.clone();
        tile.push(carry);
        number /= TILE_SIZE;
        let level = u8::try_from(completed + 1).expect("a tree of 2^64 leaves has 8 levels of tiles");
        write(TileName { kind: TileKind::Hashes(level), number, width: TILE }, tile.as_flattened())?;
        carry = perfect_root(&tile);
        completed += 1;
    }
    for level in &mut above[..completed] {
        level.clear();
    }
    match above.get_mut(completed) {
        Some(level) => level.push(carry),
        None => above.push(vec![carry]),
    }
    Ok(())
}

/// The length in bytes of the first `count` entries.
fn bundle_length(entries: &[u8], count: usize) -> usize {
    let mut at = 0;
    for _ in 0..count {
        let length = [entries[at], entries[at + 1]];
        at += 2 + usize::from(u16::from_be_bytes(length));
    }
    at
}

/// The partial tiles of a log of `size` records: the bundle first, then hashes from the lowest level on.
pub(crate) fn partial_tiles(size: u64) -> Vec<TileName> {
    let mut tiles = Vec::new();
    let (mut rest, mut level) = (size, 0);
    while rest > 0 {
        if let width @ 1.. = (rest % TILE_SIZE) as usize {
            if level == 0 {
                tiles.push(TileName { kind: TileKind::Entries, number: rest / TILE_SIZE, width });
            }
            tiles.push(TileName { kind: TileKind::Hashes(level), number: rest / TILE_SIZE, width });
        }
        rest /= TILE_SIZE;
        level += 1;
    }
    tiles
}

/// Writes a tile into `folder` in one step.
pub(crate) fn write_tile(disk: &dyn crate::disk::Disk, folder: &Path, name: TileName, bytes: &[u8]) -> io::Result<()> {
    let path = folder.join(name.path());
    crate::disk::create_folder(path.parent().unwrap_or(folder))?;
    crate::disk::replace(disk, &folder.join("scratch"), &path, bytes, false)
}

/// Removes the partial forms of a tile, but for the one of width `keep`.
pub(crate) fn remove_partials(folder: &Path, name: TileName, keep: Option<usize>) -> io::Result<()> {
    let partials = partials(&folder.join(name.full_path()));
    let absent = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let Some(keep) = keep else {
        return std::fs::remove_dir_all(partials).or_else(|error| if absent(&error) { Ok(()) } else { Err(error) });
    };
    let keep = keep.to_string();
    for entry in std::fs::read_dir(partials)? {
        let entry = entry?;
        if entry.file_name() != *keep {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Why tiles could not be used.
#[derive(Debug)]
pub(crate) enum EdgeError {
    /// The disk cannot be read.
    Io(io::Error),
    /// A tile is missing.
    Missing(TileName),
    /// A tile is not what it must be.
    Wrong(TileName),
}

/// The bytes of a tile.
pub(crate) fn read_tile(folder: &Path, name: TileName) -> Result<Vec<u8>, EdgeError> {
    crate::disk::read_small(&folder.join(name.path()), MAX_BUNDLE_BYTES)
        .map_err(EdgeError::Io)?
        .ok_or(EdgeError::Missing(name))
}

/// The bytes of a tile, cut from a wider form of it if there is none of its own width: what a running node has put in
/// its place meanwhile.
pub(crate) fn read_cut(folder: &Path, name: TileName) -> Result<Vec<u8>, EdgeError> {
    let exact = read_tile(folder, name);
    let Err(EdgeError::Missing(_)) = exact else { return exact };
    let mut wider = vec![TILE];
    if let Ok(partials) = std::fs::read_dir(partials(&folder.join(name.full_path()))) {
        wider.extend(partials.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<usize>().ok()));
    }
    for width in wider.into_iter().filter(|width| *width > name.width) {
        match read_tile(folder, TileName { width, ..name }) {
            Err(EdgeError::Missing(_)) => {}
            Err(error) => return Err(error),
            Ok(mut bytes) => {
                let length = match name.kind {
                    TileKind::Hashes(_) => 32 * name.width,
                    TileKind::Entries => {
                        let entries = parse_bundle(&bytes).map_err(|TileError| EdgeError::Wrong(name))?;
                        entries.iter().take(name.width).map(|entry| 2 + entry.len()).sum()
                    }
                };
                bytes.truncate(length);
                return Ok(bytes);
            }
        }
    }
    Err(EdgeError::Missing(name))
}

/// The hashes of a tile, as many as its name says.
pub(crate) fn read_hashes(folder: &Path, name: TileName) -> Result<Vec<Hash>, EdgeError> {
    let bytes = read_tile(folder, name)?;
    match parse_hashes(&bytes) {
        Ok(hashes) if hashes.len() == name.width => Ok(hashes.to_vec()),
        _ => Err(EdgeError::Wrong(name)),
    }
}

/// The perfect subtrees of a log of `size` records, read from its hash tiles.
pub(crate) struct StoredTree<'a> {
    folder: &'a Path,
    size: u64,
    cached: Option<(TileName, Vec<Hash>)>,
}

impl<'a> StoredTree<'a> {
    pub(crate) fn new(folder: &'a Path, size: u64) -> Self {
        Self { folder, size, cached: None }
    }

    /// The hashes of tile `number` at `level`, as far as they exist.
    pub(crate) fn tile(&mut self, level: u8, number: u64) -> Result<&[Hash], EdgeError> {
        let at_level = self.size >> (8 * u32::from(level));
        let width = at_level.saturating_sub(number * TILE_SIZE).min(TILE_SIZE) as usize;
        let name = TileName { kind: TileKind::Hashes(level), number, width };
        if width == 0 {
            return Err(EdgeError::Missing(name));
        }
        let hashes = match self.cached.take() {
            Some((cached, hashes)) if cached == name => hashes,
            _ => read_hashes(self.folder, name)?,
        };
        Ok(&self.cached.insert((name, hashes)).1)
    }
}

impl Subtrees for StoredTree<'_> {
    type Error = EdgeError;

    fn subtree(&mut self, level: u32, index: u64) -> Result<Hash, EdgeError> {
        let tile_level = u8::try_from(level / 8).expect("a level below 64");
        let within = level % 8;
        let first = index << within;
        let number = first / TILE_SIZE;
        let start = (first % TILE_SIZE) as usize;
        let hashes = self.tile(tile_level, number)?;
        let width = hashes.len();
        match hashes.get(start..start + (1 << within)) {
            Some(hashes) => Ok(perfect_root(hashes)),
            None => Err(EdgeError::Missing(TileName { kind: TileKind::Hashes(tile_level), number, width })),
        }
    }
}

#[cfg(test)]
mod tests;
