//! Objects that are there already.
