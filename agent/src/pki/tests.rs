//! The private CA through its commands.
