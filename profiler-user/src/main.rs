//! flamekeeper
fn main() {}
