//! What wake, sleep and kill share.
//!
//! The way of one call: `lambda` takes an event, `request` checks it, the function reads the service (`ecs`), maybe its
//! metrics (`cloudwatch`) and address (`address`), decides (`decision`, pure), writes, and `answer` says how it stands.
//! The one truth is the service's `desiredCount`; `docs/control-plane.md` has the semantics.

pub mod address;
pub mod answer;
pub mod aws;
pub mod cloudwatch;
pub mod config;
pub mod decision;
pub mod ecs;
pub mod epoch;
pub mod error;
pub mod lambda;
pub mod logs;
pub mod metric;
pub mod plane;
pub mod request;
pub mod service;
mod spans;
pub mod status;
