//! The key of one agent.
//!
//! Each agent has its own, derived from the master key. One key for a fleet that writes 1,000
//! times a second would reach the limit of random 96-bit nonces (2^32 messages) in 50 days; an
//! agent's own key, at ten writes a second, does so in 13 years.

use aes_gcm::KeyInit;
use zeroize::Zeroizing;

use super::cipher::Cipher;
use super::envelope::COMMITMENT_LEN;
use super::master_key::MasterKey;

/// AES-256-GCM under an agent's key, and the commitment to that key.
///
/// AES-GCM alone does not commit: a forger who knows two keys can make one ciphertext that opens
/// under both. The commitment, checked before decryption, rules that out, and tells another
/// agent's envelope apart without trying it.
pub(super) struct AgentKey {
    pub(super) cipher: Cipher, // overwritten on drop
    pub(super) commitment: [u8; COMMITMENT_LEN],
}

impl AgentKey {
    pub(super) fn derive(master: &MasterKey, agent_id: &str) -> Self {
        let length = (agent_id.len() as u32).to_be_bytes();
        let mut okm = Zeroizing::new([0; 32 + COMMITMENT_LEN]);
        master.expand(&[b"agent", &[0], &length, agent_id.as_bytes()], okm.as_mut_slice());
        let (key, commitment) = okm.split_at(32);
        Self {
            cipher: Cipher::new_from_slice(key).expect("an AES-256 key has 32 bytes"),
            commitment: commitment.try_into().expect("the rest is the commitment"),
        }
    }
}
