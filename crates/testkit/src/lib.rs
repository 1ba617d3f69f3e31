//! A server on loopback, an issuer, a clock and faults, for tests.
