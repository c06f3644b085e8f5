//! HTTP messages: bodies, header fields, one connection.
//!
//! This floor knows the protocol, not the proxy: nothing here decides who may do what.

pub mod body;
pub mod client;
pub mod decode;
pub mod headers;
pub mod links;
pub mod replay;
pub mod serve;
pub mod survey;
