//! The adapters to AWS: on mocked SDK clients, on the wire of the scripted fake, and on the emulator's.

mod emulator;
mod endpoint;
mod mocked;
mod wire;
