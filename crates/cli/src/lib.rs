//! The command line: a client over HTTP and offline work on audit logs.
