//! Stage 1: loads the eBPF object and attaches it to every online CPU.

pub mod btf;
pub mod kernel_features;
