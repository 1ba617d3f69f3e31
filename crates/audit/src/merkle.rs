//! The Merkle tree of RFC 6962 §2.1 over SHA-256, and proofs about it.

use aws_lc_rs::digest::{SHA256, digest};

/// A SHA-256 hash: of a leaf, of an inner node, or of a whole tree.
pub type Hash = [u8; 32];

/// SHA-256 of `bytes` as they stand.
pub(crate) fn sha256(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// The hash of a leaf that holds `entry`: SHA-256 of a zero byte and the entry.
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut prefixed = Vec::with_capacity(1 + entry.len());
    prefixed.push(0);
    prefixed.extend_from_slice(entry);
    sha256(&prefixed)
}

/// The hash of an inner node: SHA-256 of a one byte and both children.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut prefixed = [1; 65];
    prefixed[1..33].copy_from_slice(left);
    prefixed[33..].copy_from_slice(right);
    sha256(&prefixed)
}

/// The root of a tree without leaves: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// What must be remembered of a tree in order to append to it and to know its root: the roots of the perfect subtrees
/// it consists of, largest first, one for each bit that is set in its size.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl Frontier {
    /// The frontier whose rightmost unfinished tiles are `levels`, lowest level first, each with fewer than 256 hashes.
    pub(crate) fn from_levels<'a>(levels: impl DoubleEndedIterator<Item = &'a [Hash]>, size: u64) -> Self {
        let mut peaks = Vec::new();
        for hashes in levels.rev() {
            let mut rest = hashes;
            for bit in (0..8).rev() {
                if hashes.len() >> bit & 1 == 1 {
                    let (perfect, after) = rest.split_at(1 << bit);
                    peaks.push(perfect_root(perfect));
                    rest = after;
                }
            }
        }
        Self { size, peaks }
    }

    /// How many leaves the tree has.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf by its hash.
    pub(crate) fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.peaks.push(hash);
        self.size += 1;
    }

    /// The root of the whole tree.
    pub(crate) fn root(&self) -> Hash {
        self.peaks.iter().copied().rev().reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root)
    }
}

/// The root over `hashes`, whose number is a power of two.
pub(crate) fn perfect_root(hashes: &[Hash]) -> Hash {
    debug_assert!(hashes.len().is_power_of_two());
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    row.first().copied().unwrap_or_else(empty_root)
}

/// Where hashes of perfect subtrees come from: the one of height `level` over leaves
/// `index << level .. (index + 1) << level`.
pub(crate) trait Subtrees {
    /// Why a hash could not be had.
    type Error;

    /// The hash of one perfect subtree.
    fn subtree(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// The root over leaves `start..end`, `start` being a multiple of the largest power of two within the range.
pub(crate) fn range_root<S: Subtrees>(tree: &mut S, start: u64, end: u64) -> Result<Hash, S::Error> {
    if start == end {
        return Ok(empty_root());
    }
    let mut peaks = Vec::new();
    let mut at = start;
    while at < end {
        let level = (end - at).ilog2();
        peaks.push(tree.subtree(level, at >> level)?);
        at += 1 << level;
    }
    Ok(peaks.into_iter().rev().reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(empty_root))
}

/// The largest power of two below `n`, which is at least 2: where RFC 6962 splits a tree.
fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// The audit path of leaf `index` in the tree of the first `size` leaves, lowest node first; `index < size`.
///
/// Source: RFC 6962 §2.1.1.
pub(crate) fn inclusion_path<S: Subtrees>(tree: &mut S, index: u64, size: u64) -> Result<Vec<Hash>, S::Error> {
    let (mut start, mut end) = (0, size);
    let mut path = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(range_root(tree, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(tree, start, middle)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The proof that the tree of the first `old` leaves is a prefix of that of the first `new`; `0 < old <= new`.
///
/// Source: RFC 6962 §2.1.2.
pub(crate) fn consistency_path<S: Subtrees>(tree: &mut S, old: u64, new: u64) -> Result<Vec<Hash>, S::Error> {
    let (mut start, mut end) = (0, new);
    let mut path = Vec::new();
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            path.push(range_root(tree, middle, end)?);
            end = middle;
        } else {
            path.push(range_root(tree, start, middle)?);
            start = middle;
        }
    }
    if start != 0 {
        path.push(range_root(tree, start, end)?);
    }
    path.reverse();
    Ok(path)
}

/// Whether `path` proves that `leaf` stands at `index` in the tree of `size` leaves with this root.
///
/// Source: RFC 9162 §2.1.3.2, which spells out the check for the paths of RFC 6962 §2.1.1.
#[must_use]
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            let skip = if node & 1 == 1 { 0 } else { node.trailing_zeros() };
            node = node.checked_shr(skip).unwrap_or(0);
            last = last.checked_shr(skip).unwrap_or(0);
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `path` proves that the tree of `old` leaves with root `old_root` is a prefix of the tree of `new` leaves
/// with root `new_root`. The empty tree is a prefix of every tree, and needs no path.
///
/// Source: RFC 9162 §2.1.4.2, which spells out the check for the paths of RFC 6962 §2.1.2.
#[must_use]
pub fn verify_consistency(old: u64, old_root: &Hash, new: u64, new_root: &Hash, path: &[Hash]) -> bool {
    if old > new {
        return false;
    }
    if old == 0 {
        return path.is_empty() && *old_root == empty_root();
    }
    if old == new {
        return path.is_empty() && old_root == new_root;
    }
    let (first, rest) = if old.is_power_of_two() {
        (old_root, path)
    } else {
        match path.split_first() {
            Some(split) => split,
            None => return false,
        }
    };
    let shift = (old - 1).trailing_ones();
    let (mut node, mut last) = ((old - 1) >> shift, (new - 1) >> shift);
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            let skip = if node & 1 == 1 { 0 } else { node.trailing_zeros() };
            node = node.checked_shr(skip).unwrap_or(0);
            last = last.checked_shr(skip).unwrap_or(0);
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

#[cfg(test)]
mod tests;
