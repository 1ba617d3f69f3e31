//! `strongroom dev`: the production server with what a developer needs ready-made.

pub mod clock;
