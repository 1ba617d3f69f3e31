//! The boundary: the only code that holds plaintext keys.
