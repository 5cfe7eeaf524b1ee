//! The server over real sockets, and what it answers.

pub(crate) mod fixture;
mod hostile;
mod pages;
mod pulls;
mod routes;
