//! Stage 5: samples → one profile. Merges samples of equal thread and stack, keeps the time line if an
//! output wants it, and puts names on addresses once each. Does no I/O.

pub mod profile;
