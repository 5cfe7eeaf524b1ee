//! Stage 3: which file is mapped where in which process, and what its threads are called.

pub mod namespace;
