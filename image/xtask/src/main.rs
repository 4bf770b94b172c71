//! Builds, runs and checks the image.

fn main() {}
