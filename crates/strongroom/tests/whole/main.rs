//! The built program as a whole: started as a process, spoken to over HTTPS, killed, starved of disk, moved in time.
//!
//! Each test has its own folder and port, and ends the processes that it started, whatever becomes of it.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod clock;
mod command_line;
mod disk;
mod flags;
mod hardening;
mod issuers;
mod kill;
mod load;
mod log;
mod node;
mod parallel;
mod purge;
mod serve;
mod start;
mod strangers;
