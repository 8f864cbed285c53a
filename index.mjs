// The ESM entry: every name of index.js, one by one.

export { GuardError, AgentInUseError, ClaimLostError, DecryptionError } from './index.js';
