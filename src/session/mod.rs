//! People who are signed in with a browser: who they are, until when, and whose token goes with
//! their requests. The browser never has a token that it can read.

pub mod asked;
pub mod codec;
pub mod cookie;
