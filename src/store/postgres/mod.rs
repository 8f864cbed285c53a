//! The postgres keeper.

use crate::error::Result;
use crate::store::{Store, StoreOptions};

/// The postgres keeper.
pub struct PostgresStore {}

impl PostgresStore {
    /// Prepares the store; connects on the first call.
    pub fn new(_options: StoreOptions) -> Result<Self> {
        Ok(Self {})
    }
}
