use super::*;

fn hash(hexadecimal: &str) -> Hash {
    let mut hash = [0; 32];
    for (byte, digits) in hash.iter_mut().zip(hexadecimal.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    }
    hash
}

/// The tree as RFC 6962 §2.1 defines it, word for word.
fn defined_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [leaf] => *leaf,
        _ => {
            let k = 1 << (leaves.len() - 1).ilog2();
            node_hash(&defined_root(&leaves[..k]), &defined_root(&leaves[k..]))
        }
    }
}

struct InMemory(Vec<Hash>);

impl Subtrees for InMemory {
    type Error = std::convert::Infallible;

    fn subtree(&mut self, level: u32, index: u64) -> Result<Hash, Self::Error> {
        let start = usize::try_from(index).unwrap() << level;
        Ok(perfect_root(&self.0[start..start + (1 << level)]))
    }
}

fn numbered(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

/// Entries and roots of the test of the Certificate Transparency reference implementation, merkle_tree_test.
const ENTRIES: [&[u8]; 8] = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    b"\x50\x51\x52\x53\x54\x55\x56\x57",
    b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
];
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[test]
fn roots_are_the_published_ones() {
    assert_eq!(empty_root(), hash("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
    let mut frontier = Frontier::default();
    for (entry, root) in ENTRIES.iter().zip(ROOTS) {
        frontier.push(leaf_hash(entry));
        assert_eq!(frontier.root(), hash(root));
    }
}

#[test]
fn proofs_are_the_published_ones() {
    let mut tree = InMemory(ENTRIES.iter().map(|entry| leaf_hash(entry)).collect());
    let inclusion = [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(inclusion_path(&mut tree, 5, 8).unwrap(), inclusion.map(hash));
    let consistency = [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ];
    assert_eq!(consistency_path(&mut tree, 6, 8).unwrap(), consistency.map(hash));
}

#[test]
fn every_root_is_the_defined_one() {
    let leaves = numbered(600);
    let mut tree = InMemory(leaves.clone());
    let mut frontier = Frontier::default();
    for size in 0..=600 {
        let defined = defined_root(&leaves[..size]);
        assert_eq!(frontier.root(), defined);
        assert_eq!(range_root(&mut tree, 0, size as u64).unwrap(), defined);
        if let Some(leaf) = leaves.get(size) {
            frontier.push(*leaf);
        }
    }
}

#[test]
fn every_inclusion_proof_holds_for_its_leaf_alone() {
    let leaves = numbered(37);
    let mut tree = InMemory(leaves.clone());
    for size in 1..=37_u64 {
        let root = defined_root(&leaves[..size as usize]);
        for index in 0..size {
            let path = inclusion_path(&mut tree, index, size).unwrap();
            let leaf = leaves[index as usize];
            assert!(verify_inclusion(&leaf, index, size, &path, &root));
            for other in (0..=size).filter(|other| *other != index) {
                assert!(!verify_inclusion(&leaf, other, size, &path, &root), "{index} of {size} at {other}");
            }
            assert!(!verify_inclusion(&[0; 32], index, size, &path, &root));
            let mut longer = path.clone();
            longer.push(root);
            assert!(!verify_inclusion(&leaf, index, size, &longer, &root));
            if let Some((_, shorter)) = path.split_last() {
                assert!(!verify_inclusion(&leaf, index, size, shorter, &root));
            }
        }
    }
}

#[test]
fn every_consistency_proof_holds_and_no_changed_one() {
    let leaves = numbered(37);
    let mut tree = InMemory(leaves.clone());
    let roots: Vec<_> = (0..=37).map(|size| defined_root(&leaves[..size])).collect();
    for new in 1..=37_u64 {
        for old in 1..=new {
            let path = consistency_path(&mut tree, old, new).unwrap();
            let (old_root, new_root) = (&roots[old as usize], &roots[new as usize]);
            assert!(verify_consistency(old, old_root, new, new_root, &path), "{old} in {new}");
            assert!(!verify_consistency(old, &[0; 32], new, new_root, &path));
            assert!(!verify_consistency(old, old_root, new, &[0; 32], &path));
            for position in 0..path.len() {
                let mut changed = path.clone();
                changed[position][0] ^= 1;
                assert!(!verify_consistency(old, old_root, new, new_root, &changed), "{old} in {new} at {position}");
            }
            let mut longer = path.clone();
            longer.push(*new_root);
            assert!(!verify_consistency(old, old_root, new, new_root, &longer));
        }
    }
    assert!(verify_consistency(0, &empty_root(), 5, &roots[5], &[]));
    assert!(!verify_consistency(6, &roots[6], 5, &roots[5], &[]));
}

proptest::proptest! {
    #[test]
    fn random_proofs_never_panic(a: u64, b: u64, path: Vec<Hash>, x: Hash, y: Hash) {
        let _ = (verify_inclusion(&x, a, b, &path, &y), verify_consistency(a, &x, b, &y, &path));
    }
}
