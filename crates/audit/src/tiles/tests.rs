use std::collections::BTreeMap;

use super::*;
use crate::disk::LocalDisk;
use crate::merkle::{Frontier, leaf_hash, range_root};

#[test]
fn paths_are_the_published_ones() {
    let path = |kind, number, width| TileName { kind, number, width }.path().to_str().unwrap().to_owned();
    assert_eq!(path(TileKind::Hashes(0), 1_234_067, TILE), "tile/0/x001/x234/067");
    assert_eq!(path(TileKind::Entries, 0, TILE), "tile/entries/000");
    assert_eq!(path(TileKind::Hashes(2), 1000, 17), "tile/2/x001/000.p/17");
}

#[test]
fn the_published_example_of_partial_tiles_holds() {
    // C2SP tlog-tiles, "Partial Tiles": a tree of size 70,000, and one of size 256.
    let widths = |size| partial_tiles(size).into_iter().map(|tile| (tile.kind, tile.number, tile.width));
    let expected = [
        (TileKind::Entries, 273, 112),
        (TileKind::Hashes(0), 273, 112),
        (TileKind::Hashes(1), 1, 17),
        (TileKind::Hashes(2), 0, 1),
    ];
    assert!(widths(70_000).eq(expected));
    assert!(widths(256).eq([(TileKind::Hashes(1), 0, 1)]));
}

fn filled(count: u64) -> (Edge, BTreeMap<TileName, Vec<u8>>, Frontier) {
    let (mut edge, mut tail, mut frontier) = (Edge::default(), Tail::default(), Frontier::default());
    let mut tiles = BTreeMap::new();
    for n in 0..count {
        let entry = n.to_string();
        let leaf = leaf_hash(entry.as_bytes());
        tail.push(entry.as_bytes(), leaf);
        frontier.push(leaf);
    }
    edge.extend(&mut tail);
    let mut write = |name, bytes: &[u8]| {
        assert!(tiles.insert(name, bytes.to_vec()).is_none(), "{name:?} twice");
        Ok(())
    };
    edge.complete(&mut write).unwrap();
    edge.partial(&mut write).unwrap();
    (edge, tiles, frontier)
}

#[test]
fn tiles_hold_the_tree_and_the_edge_reads_back() {
    for count in [0, 1, 255, 256, 257, 65_535, 65_536, 65_537, 70_000] {
        let (edge, tiles, frontier) = filled(count);
        assert_eq!(edge.size(), count);
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in &tiles {
            write_tile(&LocalDisk, folder.path(), *name, bytes).unwrap();
        }
        let root = range_root(&mut StoredTree::new(folder.path(), count), 0, count).unwrap_or_else(|_| panic!());
        assert_eq!(root, frontier.root(), "{count}");
        let read = Edge::read(folder.path(), count).unwrap_or_else(|_| panic!());
        assert_eq!(read.size(), count);
        assert!(read.levels().filter(|level| !level.is_empty()).eq(edge.levels().filter(|level| !level.is_empty())));
        assert_eq!(Frontier::from_levels(read.levels(), count).root(), frontier.root(), "{count}");
    }
}

#[test]
fn a_write_that_fails_is_made_again_with_the_same_bytes() {
    let (_, expected, _) = filled(70_000);
    let (mut edge, mut tail) = (Edge::default(), Tail::default());
    for n in 0..70_000 {
        let entry = n.to_string();
        tail.push(entry.as_bytes(), leaf_hash(entry.as_bytes()));
    }
    edge.extend(&mut tail);
    let mut tiles = BTreeMap::new();
    let mut turn = 0;
    while edge
        .complete(|name, bytes| {
            turn += 1;
            if turn % 7 == 0 {
                return Err(io::Error::other("the disk fails"));
            }
            tiles.insert(name, bytes.to_vec());
            Ok(())
        })
        .is_err()
    {}
    edge.partial(|name, bytes| {
        tiles.insert(name, bytes.to_vec());
        Ok(())
    })
    .unwrap();
    assert_eq!(tiles, expected);
}

#[test]
fn bundles_with_a_wrong_length_or_too_many_entries_are_refused() {
    assert_eq!(parse_bundle(&[0, 1, 7, 0, 0]).unwrap(), [&[7][..], &[]]);
    for wrong in [&[][..], &[0], &[0, 2, 7], &[0; 2 * 257]] {
        assert_eq!(parse_bundle(wrong), Err(TileError));
    }
    assert_eq!(parse_hashes(&[0; 33]), Err(TileError));
    assert_eq!(parse_hashes(&[0; 257 * 32]), Err(TileError));
}

proptest::proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        let _ = (parse_bundle(&bytes), parse_hashes(&bytes).is_ok());
    }
}
