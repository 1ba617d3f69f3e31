//! The table that the conformance suites walk lists everything that a pool computes, and nothing else.

use std::collections::BTreeSet;

use model::{Curve, EncryptionAlgorithm, KeyKind, MlDsa, OctSize, RsaSize, SignatureAlgorithm};

#[test]
fn the_table_of_the_suites_is_what_the_model_allows() {
    let aes = [(OctSize::AES_128, "128"), (OctSize::AES_192, "192"), (OctSize::AES_256, "256")];
    let rsa = RsaSize::ALL.iter().map(|size| (KeyKind::Rsa(*size), "RSA", size.bits().to_string()));
    let ec = Curve::ALL.iter().map(|curve| (KeyKind::Ec(*curve), "EC", curve.as_str().to_owned()));
    let oct = aes.into_iter().map(|(size, bits)| (KeyKind::Oct(size), "oct", bits.to_owned()));
    let akp = MlDsa::ALL.iter().map(|set| (KeyKind::Akp(*set), "AKP", set.as_str().to_owned()));
    let mut allowed = BTreeSet::new();
    for (kind, name, size) in rsa.chain(ec).chain(oct).chain(akp) {
        for algorithm in EncryptionAlgorithm::ALL.iter().filter(|algorithm| algorithm.check_key(kind).is_ok()) {
            allowed.insert(format!("{name} {size} wrap {algorithm}"));
            if !algorithm.is_wrap_only() {
                allowed.insert(format!("{name} {size} encrypt {algorithm}"));
            }
        }
        for algorithm in SignatureAlgorithm::ALL.iter().filter(|algorithm| algorithm.check_key(kind).is_ok()) {
            allowed.insert(format!("{name} {size} sign {algorithm}"));
        }
    }

    let mut listed = BTreeSet::new();
    let text = include_str!("../../../conformance/algorithms.txt");
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let columns: Vec<Vec<&str>> = line.split_whitespace().map(|column| column.split(',').collect()).collect();
        let [kinds, sizes, operations, algorithms]: [Vec<&str>; 4] = columns.try_into().unwrap();
        for (kind, size) in kinds.iter().flat_map(|kind| sizes.iter().map(move |size| (kind, size))) {
            for (operation, algorithm) in operations.iter().flat_map(|o| algorithms.iter().map(move |a| (o, a))) {
                assert!(listed.insert(format!("{kind} {size} {operation} {algorithm}")), "twice: {line}");
            }
        }
    }
    assert_eq!(listed, allowed);
}
