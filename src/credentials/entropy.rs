//! Where nonces come from.

use crate::error::{Error, Result};

/// A source of unpredictable bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Fills the whole buffer or fails.
    fn fill(&self, bytes: &mut [u8]) -> Result<()>;
}

/// The operating system's generator, asked anew each time.
///
/// Nothing is kept back for later calls: a stock of random bytes would come out twice when a
/// virtual machine is resumed from the same snapshot twice, and a nonce that repeats under one key
/// breaks AES-GCM.
#[derive(Debug, Default, Clone, Copy)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<()> {
        getrandom::fill(bytes).map_err(|error| {
            Error::Internal(format!("the operating system gave no random bytes: {error}"))
        })
    }
}
