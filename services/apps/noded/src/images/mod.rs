//! Bringing images in: the operation that does it, and the desk where the north side gets its orders to fetch.

mod desk;
mod export;
mod import;
mod place;
mod prune;
mod tidy;

pub use desk::FetchDesk;
pub use export::{EXPORT, ExportVolume};
pub use import::{IMPORT, ImportImage};
pub use prune::{keep_room, prune_all};
pub use tidy::tidy_library;
