//! The common parts of ETSI REST interfaces (ETSI GS NFV-SOL 013): attribute filters, attribute selectors and
//! paging.
//!
//! Works on JSON values and on a description of their attributes; knows no O2 type and no transport. Nothing
//! here panics on any input, and no error text repeats what the client sent.

mod bind;
mod filter;
mod page;
mod path;
mod query;
mod schema;
mod select;

pub use bind::{BindError, BoundFilter};
pub use filter::{Filter, FilterError, Operator, Term};
pub use page::{MarkerError, Markers, page_of};
pub use path::{AttributePath, PathError, Step};
pub use query::{Params, QueryError};
pub use schema::{Attribute, ObjectType, Shape};
pub use select::{SelectError, Selector};
