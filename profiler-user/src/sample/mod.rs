//! Stage 1: loads the eBPF object and attaches it to every online CPU.
