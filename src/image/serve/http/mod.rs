//! HTTP/1.1 as a server speaks it (RFC 9112), as much of it as registries and their clients use.
//!
//! - `socket`: bytes in and out, each wait with an end · `tls`
//! - `request`: the head of a request · `body`: what follows it · `response`: what is answered
//!
//! Not here: which paths there are, and what is behind them.
//!
//! Invariant: whoever is at the other end is hostile. A head has a greatest length, a body a least rate; what one reader
//! could take for the end of a body and another not is refused.

pub mod body;
pub mod request;
pub mod response;
pub mod socket;
pub mod tls;
