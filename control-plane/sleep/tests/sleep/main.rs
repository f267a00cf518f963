//! The real sleep binary, driven as Lambda drives it, on the scripted AWS; and against wake and kill at the same moment.

#![allow(clippy::indexing_slicing, reason = "a test panics to fail")]

mod decisions;
mod races;
mod scene;
