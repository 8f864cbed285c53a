// The ESM entry: every name of index.js, one by one.

export {
  GuardError,
  AgentInUseError,
  ClaimLostError,
  DecryptionError,
  createGuard,
  configure,
  migrate,
  rollback,
  claimInstance,
  claimInstances,
  startHeartbeat,
  getOwner,
  listSessions,
  watchOwnership,
  shutdown,
  createReconnectScheduler,
  superviseSession,
  classifyDisconnect,
} from './index.js';
