//! Against a socket on loopback.
