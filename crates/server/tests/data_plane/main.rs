//! The data plane of one pool, from whole requests to whole answers, without sockets.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

mod limits;
mod plane;
mod routes;
mod strangers;
