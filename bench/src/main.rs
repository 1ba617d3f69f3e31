//! Ratios against references measured in the same run.

fn main() {}
