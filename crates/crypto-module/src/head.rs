//! The head of a pool: one number that stands for everything stored; see `SPEC.md`, section 5.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::digest::{Context, SHA256, digest};
use aws_lc_rs::hmac;
use bytes::Bytes;
use subtle::ConstantTimeEq;

use crate::Error;
use crate::codec::{Reader, VERSION};
use crate::hierarchy::{Master, Masters};
use crate::seal::{self, Purpose};

/// What stands for one stored value in the head: a keyed function of its path and bytes.
#[derive(Clone, Copy)]
pub struct Element(Sum);

impl Element {
    pub(crate) fn of(masters: &Masters, path: &str, value: &[u8]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, masters.get(Master::Element));
        let mut context = hmac::Context::with_key(&key);
        // A path longer than four bytes can count does not exist; store paths are bounded far below.
        context.update(&u32::try_from(path.len()).unwrap_or(u32::MAX).to_be_bytes());
        context.update(path.as_bytes());
        context.update(digest(&SHA256, value).as_ref());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.sign().as_ref());
        Self(Sum::from_bytes(&bytes))
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Element(..)")
    }
}

/// The elements of all stored values by their paths. There may be very many, so of each path a digest is kept, which
/// begins with what nobody else knows: no two paths can be chosen that fall together.
pub struct Elements {
    salt: [u8; 16],
    by_path: HashMap<[u8; 16], Element>,
}

impl Elements {
    /// None yet.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without randomness.
    pub fn new() -> Result<Self, Error> {
        let mut salt = [0; 16];
        seal::random(&mut salt)?;
        Ok(Self { salt, by_path: HashMap::new() })
    }

    /// The element of what is stored at `path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Element> {
        self.by_path.get(&self.place(path)).copied()
    }

    /// Another value is stored at `path`.
    pub fn insert(&mut self, path: &str, element: Element) {
        self.by_path.insert(self.place(path), element);
    }

    /// Nothing is stored at `path` any more.
    pub fn remove(&mut self, path: &str) {
        self.by_path.remove(&self.place(path));
    }

    /// All of them, in no order.
    pub fn all(&self) -> impl Iterator<Item = Element> {
        self.by_path.values().copied()
    }

    /// Whether nothing is stored.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_path.is_empty()
    }

    fn place(&self, path: &str) -> [u8; 16] {
        let mut context = Context::new(&SHA256);
        context.update(&self.salt);
        context.update(path.as_bytes());
        let mut place = [0; 16];
        place.copy_from_slice(&context.finish().as_ref()[..16]);
        place
    }
}

impl fmt::Debug for Elements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elements").field("stored", &self.by_path.len()).finish_non_exhaustive()
    }
}

/// A state of the pool: how many commits, and the sum of the elements of all stored values.
#[derive(Clone)]
pub struct Head {
    sequence: u64,
    sum: Sum,
}

impl Head {
    pub(crate) fn empty() -> Self {
        Self { sequence: 0, sum: Sum::default() }
    }

    /// The number of commits so far.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether `elements`, one for every stored value in any order, are exactly those this head stands for.
    #[must_use]
    pub fn matches(&self, elements: impl IntoIterator<Item = Element>) -> bool {
        let sum = elements.into_iter().fold(Sum::default(), |sum, element| sum.plus(element.0));
        sum.to_bytes().ct_eq(&self.sum.to_bytes()).into()
    }

    pub(crate) fn advance(
        &self,
        masters: &Masters,
        removed: &[Element],
        added: &[Element],
    ) -> Result<(Self, Bytes), Error> {
        let less = removed.iter().fold(self.sum, |sum, element| sum.minus(element.0));
        let sum = added.iter().fold(less, |sum, element| sum.plus(element.0));
        let sequence = self.sequence.checked_add(1).ok_or(Error::Unavailable)?;
        let mut plain = Vec::with_capacity(41);
        plain.push(VERSION);
        plain.extend_from_slice(&sequence.to_be_bytes());
        plain.extend_from_slice(&sum.to_bytes());
        let sealed = seal::seal(masters.get(Master::Head), Purpose::Head, &[], &plain)?;
        Ok((Self { sequence, sum }, sealed.into()))
    }

    pub(crate) fn open(masters: &Masters, sealed: &[u8]) -> Result<Self, Error> {
        let plain = seal::open(masters.get(Master::Head), Purpose::Head, &[], sealed)?;
        let mut reader = Reader::new(&plain);
        reader.version()?;
        let head = Self { sequence: reader.u64()?, sum: Sum::from_bytes(&reader.array()?) };
        reader.end()?;
        Ok(head)
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Head").field("sequence", &self.sequence).finish_non_exhaustive()
    }
}

/// A number modulo 2^256, high half first.
#[derive(Clone, Copy, Default)]
struct Sum {
    high: u128,
    low: u128,
}

impl Sum {
    fn from_bytes(bytes: &[u8; 32]) -> Self {
        let half = |part: &[u8]| part.iter().fold(0, |number: u128, byte| number << 8 | u128::from(*byte));
        Self { high: half(&bytes[..16]), low: half(&bytes[16..]) }
    }

    fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.high.to_be_bytes());
        bytes[16..].copy_from_slice(&self.low.to_be_bytes());
        bytes
    }

    fn plus(self, other: Self) -> Self {
        let (low, carry) = self.low.overflowing_add(other.low);
        Self { high: self.high.wrapping_add(other.high).wrapping_add(u128::from(carry)), low }
    }

    fn minus(self, other: Self) -> Self {
        let (low, borrow) = self.low.overflowing_sub(other.low);
        Self { high: self.high.wrapping_sub(other.high).wrapping_sub(u128::from(borrow)), low }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masters() -> Masters {
        Masters::derive(&[9; 32]).unwrap()
    }

    #[test]
    fn elements_are_found_by_their_paths_and_none_by_another_salt() {
        let element = |value: &[u8]| Element::of(&masters(), "a", value);
        let bytes = |element: Element| element.0.to_bytes();
        let mut elements = Elements::new().unwrap();
        elements.insert("a", element(b"1"));
        elements.insert("a", element(b"2"));
        assert_eq!(elements.get("a").map(bytes), Some(bytes(element(b"2"))));
        assert!(elements.get("b").is_none());
        assert_eq!(elements.all().count(), 1);
        assert_ne!(elements.place("a"), Elements::new().unwrap().place("a"));
        elements.remove("a");
        assert!(elements.is_empty());
    }

    proptest! {
        #[test]
        fn adding_and_taking_away_in_any_order_comes_back_to_the_same_sum(
            numbers in prop::collection::vec(any::<[u8; 32]>(), 1..20),
        ) {
            let sums: Vec<_> = numbers.iter().map(Sum::from_bytes).collect();
            let forth = sums.iter().fold(Sum::default(), |sum, n| sum.plus(*n));
            let back = sums.iter().rev().fold(forth, |sum, n| sum.minus(*n));
            prop_assert_eq!(back.to_bytes(), [0; 32]);
            prop_assert_eq!(Sum::from_bytes(&numbers[0]).to_bytes(), numbers[0]);
        }
    }

    #[test]
    fn carries_cross_the_halves_and_the_top_wraps() {
        let top = Sum::from_bytes(&[0xff; 32]);
        let one = Sum { high: 0, low: 1 };
        assert_eq!(top.plus(one).to_bytes(), [0; 32]);
        assert_eq!(Sum::default().minus(one).to_bytes(), [0xff; 32]);
        assert_eq!(Sum { high: 0, low: u128::MAX }.plus(one).high, 1);
    }

    #[test]
    fn the_head_follows_commits_and_matches_nothing_else() {
        let masters = masters();
        let element = |path, value: &[u8]| Element::of(&masters, path, value);
        let (a, b, b2) = (element("a", b"1"), element("b", b"1"), element("b", b"2"));
        let (head, _) = Head::empty().advance(&masters, &[], &[a, b]).unwrap();
        let (head, sealed) = head.advance(&masters, &[b], &[b2]).unwrap();
        assert_eq!(head.sequence(), 2);
        assert!(head.matches([b2, a]));
        for wrong in [vec![a, b], vec![a], vec![a, b2, b2], vec![], vec![element("b", b"1"), element("a", b"2")]] {
            assert!(!head.matches(wrong));
        }
        let opened = Head::open(&masters, &sealed).unwrap();
        assert_eq!(opened.sequence(), 2);
        assert!(opened.matches([a, b2]));
        assert!(Head::empty().matches([]));
    }

    #[test]
    fn a_value_counted_twice_does_not_vanish() {
        let masters = masters();
        let a = Element::of(&masters, "a", b"1");
        assert!(!Head::empty().matches([a, a]));
    }

    #[test]
    fn an_element_is_hmac_of_path_and_digest() {
        let masters = masters();
        let key = hmac::Key::new(hmac::HMAC_SHA256, masters.get(Master::Element));
        let mut message = b"\x00\x00\x00\x04path".to_vec();
        message.extend_from_slice(digest(&SHA256, b"value").as_ref());
        assert_eq!(Element::of(&masters, "path", b"value").0.to_bytes(), *hmac::sign(&key, &message).as_ref());
    }
}
