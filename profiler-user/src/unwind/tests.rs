//! Rows of real files against other tools, and of damaged ones against time.

mod arm64;
mod go;
mod hostile;
mod pages;
mod readelf;
mod separate;
mod stopped;
mod walk;
