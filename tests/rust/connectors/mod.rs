//! Documents in, operations and requests out.

mod bounds;
mod calls;
mod departures;
pub(crate) mod documents;
mod faults;
mod hostile;
mod kinds;
mod loosened;
mod paging;
mod practised;
mod responses;
pub(crate) mod rig;
mod shown;
mod words;
mod world;
