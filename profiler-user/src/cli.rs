//! The command line: arguments → validated configuration. Only translates.
