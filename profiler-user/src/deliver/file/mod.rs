//! Writes a profile in the format that the ending of a file name asks for.
