//! The sqlite keeper.

use crate::error::Result;
use crate::store::{Store, StoreOptions};

/// The sqlite keeper.
pub struct SqliteStore {}

impl SqliteStore {
    /// Prepares the store; connects on the first call.
    pub fn new(_options: StoreOptions) -> Result<Self> {
        Ok(Self {})
    }
}
