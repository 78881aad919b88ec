//! To be filled: server.
