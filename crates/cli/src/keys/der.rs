//! As much of DER (X.690) as private keys are written in: definite lengths of at most 64 KiB, tags of one byte.

/// A sequence of values, read one after the other.
pub(super) struct Der<'a>(&'a [u8]);

/// Tags of the values that occur in private keys.
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT_ID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
/// `[n]`, constructed.
pub(super) const fn explicit(n: u8) -> u8 {
    0xa0 | n
}

impl<'a> Der<'a> {
    /// The values inside the one sequence that `bytes` are.
    pub(super) fn sequence(bytes: &'a [u8]) -> Option<Self> {
        let mut whole = Self(bytes);
        let inside = whole.value(SEQUENCE)?;
        whole.0.is_empty().then_some(Self(inside))
    }

    /// The values inside `bytes`, which are the contents of something constructed.
    pub(super) fn inside(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The contents of the next value, which must have `tag`.
    pub(super) fn value(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match *first {
            short @ 0..=0x7f => (usize::from(short), rest),
            0x81 => (usize::from(*rest.first()?), &rest[1..]),
            0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), &rest[2..]),
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        if *found != tag {
            return None;
        }
        self.0 = rest;
        Some(contents)
    }

    /// The contents of the next value if it has `tag`; otherwise it is left where it is.
    pub(super) fn optional(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.value(tag)
    }

    /// The next value, a positive integer, without leading zeros.
    pub(super) fn integer(&mut self) -> Option<&'a [u8]> {
        let bytes = self.value(INTEGER)?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        (bytes.first()? & 0x80 == 0).then(|| &bytes[zeros..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_are_read_in_their_order() {
        let mut der = Der::sequence(&[0x30, 0x08, 0x02, 0x02, 0x00, 0x81, 0x04, 0x02, 7, 8]).unwrap();
        assert_eq!(der.integer(), Some([0x81].as_slice()));
        assert_eq!(der.optional(BIT_STRING), None);
        assert_eq!(der.value(OCTET_STRING), Some([7, 8].as_slice()));
        assert_eq!(der.value(OCTET_STRING), None);
    }

    #[test]
    fn long_lengths_are_read_and_longer_ones_refused() {
        let long = |head: &[u8], n: usize| [head, &vec![0; n]].concat();
        assert_eq!(Der(&long(&[4, 0x81, 200], 200)).value(OCTET_STRING).map(<[u8]>::len), Some(200));
        assert_eq!(Der(&long(&[4, 0x82, 1, 0], 256)).value(OCTET_STRING).map(<[u8]>::len), Some(256));
        for bad in [&[4, 0x80][..], &[4, 0x83, 0, 0, 0], &[4, 1], &[4], &[], &[4, 0x81], &[4, 0x82, 0]] {
            assert_eq!(Der(bad).value(OCTET_STRING), None, "{bad:?}");
        }
        assert!(Der::sequence(&[0x30, 0, 0]).is_none());
        assert_eq!(Der(&[2, 1, 0x80]).integer(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes: Vec<u8>) {
            let mut der = Der(&bytes);
            while der.integer().is_some() || der.value(SEQUENCE).is_some() {}
        }
    }
}
