//! Reading our own byte formats: every length checked, every failure the same.

use crate::Error;

/// Takes fields from the front of a byte string. Whatever is missing is [`Error::Tampered`].
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (front, rest) = self.0.split_at_checked(len).ok_or(Error::Tampered)?;
        self.0 = rest;
        Ok(front)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.take(N)?.try_into().map_err(|_| Error::Tampered)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Error> {
        self.array().map(i64::from_be_bytes)
    }

    /// A field whose length is written before it in two bytes.
    pub(crate) fn short(&mut self) -> Result<&'a [u8], Error> {
        let len = self.array().map(u16::from_be_bytes)?;
        self.take(usize::from(len))
    }

    /// A field whose length is written before it in four bytes.
    pub(crate) fn long(&mut self) -> Result<&'a [u8], Error> {
        let len = self.array().map(u32::from_be_bytes)?;
        self.take(usize::try_from(len).map_err(|_| Error::Tampered)?)
    }

    /// Requires the format version that all formats have today.
    pub(crate) fn version(&mut self) -> Result<(), Error> {
        if self.u8()? == VERSION { Ok(()) } else { Err(Error::Tampered) }
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Requires that nothing is left.
    pub(crate) fn end(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Tampered) }
    }
}

/// The first byte of every format.
pub(crate) const VERSION: u8 = 1;

/// Appends `bytes` after its length in two bytes.
pub(crate) fn put_short(out: &mut Vec<u8>, bytes: &[u8], what: &'static str) -> Result<(), Error> {
    let len = u16::try_from(bytes.len()).map_err(|_| Error::InvalidInput { what })?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}

/// Appends `bytes` after its length in four bytes.
pub(crate) fn put_long(out: &mut Vec<u8>, bytes: &[u8], what: &'static str) -> Result<(), Error> {
    let len = u32::try_from(bytes.len()).map_err(|_| Error::InvalidInput { what })?;
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes);
    Ok(())
}
