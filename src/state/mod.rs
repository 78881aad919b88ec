//! To be filled: state.
