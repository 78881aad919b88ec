//! To be filled: practice.
