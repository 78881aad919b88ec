//! Documents in, operations and requests out.

mod calls;
mod departures;
pub(crate) mod documents;
mod hostile;
mod kinds;
mod paging;
mod practised;
mod rig;
mod shown;
mod world;
