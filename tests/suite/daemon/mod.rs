//! The daemon as a whole: real samples, the database's own protocol, faults, kills, rights, pulls.

mod budget;
mod deliveries;
mod faults;
mod kills;
mod log;
mod lost_answers;
mod pods;
mod rights;
mod serving;
mod storage;
