//! The project's tasks, one subcommand each.
fn main() {}
