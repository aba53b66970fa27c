//! The command line from outside: what it prints, where, and whether it succeeds. Proves `spec/cli.md`.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::result_large_err,
    reason = "helpers of tests may panic as tests may"
)]

mod audit;
mod binary;
mod call;
mod config;
mod control;
mod control_binary;
mod fake_gateway;
mod gateway;
mod process;
mod relay;
mod remote;
