import { createGuard, AgentInUseError, type Claim } from 'baileys-guard';
import guarding = require('baileys-guard');

async function hold(agentId: string): Promise<Claim | number> {
  const guard = createGuard({ databaseUrl: 'sqlite:guard.db' });
  try {
    return await guard.claimInstance(agentId);
  } catch (error) {
    if (error instanceof AgentInUseError) return error.retryAfterMs;
    throw error;
  }
}

export const release: () => Promise<void> = () => guarding.shutdown();
export { hold };
