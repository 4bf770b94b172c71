//! The rules of jobs: which state follows which, whose turn it is, what is kept of finished ones.
//!
//! Pure: nothing here looks at a clock, the store or the machine. The runner of the node daemon does what these
//! rules say.

mod keep;
mod lifecycle;
mod pace;
mod turn;

pub use keep::outdated as outdated_jobs;
pub use lifecycle::{JobEffect, JobEvent, JobRefused, next as next_job};
pub use pace::{Pace as JobPace, retry_pause as job_retry_pause};
pub use turn::{JobClass, Places as JobPlaces, Waiting as JobTurn, choose as choose_jobs};
