//! To be filled: binding.
