//! A file a target: what is run over the bytes, and what must hold.

pub(crate) mod cgroup;
pub(crate) mod elf;
pub(crate) mod frames;
pub(crate) mod go_build;
pub(crate) mod go_table;
pub(crate) mod kernel_names;
pub(crate) mod maps;
pub(crate) mod perf_map;
pub(crate) mod pprof;
pub(crate) mod ring;
pub(crate) mod rows;
pub(crate) mod sideband;
pub(crate) mod spool;
pub(crate) mod walk;
