//! The tests: real programs, the real kernel, and the release binary, a file a topic.
//!
//! Those that profile take the [`Machine`](profiler_tests::Machine) for themselves, or skip loudly where it
//! cannot be profiled. A capture lasts two or three seconds at a high rate: enough samples to tell a share.

mod commands;
mod configuration;
mod containers;
mod daemon;
mod debug_files;
mod denials;
mod deployment;
mod doctor;
mod formats;
mod hostile;
mod kills;
mod known_answers;
mod loads;
mod naming;
mod old_kernels;
mod outputs;
mod privileges;
mod processes;
mod push;
mod second_opinion;
mod traces;
mod usage;
mod whole_second_opinion;
