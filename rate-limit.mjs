// The same for `import`: Node finds names only where they stand one by one.

import rateLimit from './rate-limit.js';

export default rateLimit;
export { rateLimit };
export const { MemoryStore, ipKeyGenerator, createRateLimiter, SECOND, MINUTE, HOUR, DAY } =
  rateLimit;
