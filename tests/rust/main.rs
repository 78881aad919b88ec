//! The one integration binary: a module per subject.

mod architecture;
mod http;
mod loopback;
mod schema;
