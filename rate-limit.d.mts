export * from './rate-limit.js';
export { rateLimit as default } from './rate-limit.js';
