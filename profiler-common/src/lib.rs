//! What the kernel half and the user half of Flamekeeper must agree on, and nothing else.
//!
//! ```text
//!   address.rs     which space an address is in: process, file, ELF, kernel
//!   frame.rs       one stack frame as two tagged words, the same for native, kernel and interpreters
//!   stack_hash.rs  frames → the 64-bit identity of a stack
//!   unwind_row.rs  which rule is in force at an address: rows, pages of rows, the search
//!   unwind_rule.rs a rule: where a frame keeps what its caller had
//!   unwind_step.rs registers and a rule → the caller's registers, generic over memory
//!   outcome.rs     one list: why a walk ended, what was lost; BPF array index and metric name
//!   abi.rs         every ring event and map value, sizes asserted
//! ```
//!
//! `no_std`, without dependencies: the same code runs in the kernel, under `cargo test` and under Miri.
//! The feature `user` adds `aya::Pod` to the types that are map values.
#![cfg_attr(not(any(test, feature = "user")), no_std)]

pub mod abi;
pub mod address;
pub mod frame;
pub mod outcome;
pub mod stack_hash;
pub mod unwind_row;
pub mod unwind_rule;
pub mod unwind_step;
