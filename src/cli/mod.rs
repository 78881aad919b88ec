//! To be filled: cli.
