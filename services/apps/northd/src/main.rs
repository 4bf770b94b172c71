//! The north side: HTTPS, O2, /api/v1 and the web page.

fn main() {}
