//! Stage 1: loads the eBPF object and attaches it to every online CPU.

pub mod bpf_trial;
pub mod btf;
pub mod capabilities;
pub mod kernel_features;
