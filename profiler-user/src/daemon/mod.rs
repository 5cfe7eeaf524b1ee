//! `flamekeeper daemon`: profiles the host for as long as it runs, and ships a window after the other.
pub mod boundaries;
pub mod broker;
pub mod cpu_budget;
pub mod names;
pub mod pulls;
pub mod windows;
