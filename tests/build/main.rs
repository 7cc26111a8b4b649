//! `build`, as its users see it: one file per topic.

#[path = "../network/namespaces.rs"]
#[allow(dead_code, reason = "one part of it is used")]
mod namespaces;
#[path = "../registry/real.rs"]
mod real;
#[path = "../support/mod.rs"]
mod support;

mod archives;
mod bad_input;
mod bounds;
mod builder;
mod cache;
mod check;
mod command;
mod disk;
mod download;
mod escape;
mod examples;
mod files;
mod git;
mod graph;
mod image;
mod instruction;
mod layer;
mod mount;
mod named_context;
mod nested;
mod output;
mod owner;
mod peer;
mod platform;
mod progress;
mod remote_cache;
mod secret;
mod step;
mod verify;
